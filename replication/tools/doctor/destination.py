"""The destination's leg: a small object is written as the rule writes, read back, and deleted.

Its name is below the rule's own destination prefix and behind the mark that a replica has only
where its key was rewritten, so no object is ever in its way.
"""

from dataclasses import dataclass, field, replace
from uuid import uuid4

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.keys import REWRITTEN_MARK, key_problem
from replication.models import DeletePolicy, EncryptionMethod, ObjectAcl, ReplicationRule
from replication.stores.base import DestinationStore, Encryption, Receipt, ReplicaAttributes
from replication.stores.checksums import CRC64
from replication.stores.factory import destination_store
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    failed,
    from_error,
    passed,
    unknown,
    warned,
)

CONTENT = b"s3sync doctor was here, and may be deleted\n"
_TAGS = {"s3sync": "doctor"}


def probe_key(rule: ReplicationRule) -> str:
    """A name for the object of this run; a rule that need not delete has one for all its runs."""
    start = f"{rule.destination_key(rule.source_prefix)}{REWRITTEN_MARK}doctor/"
    return start + (str(uuid4()) if rule.delete_policy == DeletePolicy.MIRROR else rule.name)


def examine_destination(rule: ReplicationRule, key: str) -> Findings:
    """Write, read and delete the object of this name."""
    if problem := key_problem(key):
        yield failed(
            Check.DESTINATION_KEY,
            f"the rule's prefix makes keys that OSS can't have: {problem}",
            fix="Correct the rule's destination prefix: no slash at the beginning, no control "
            "characters, and short enough to leave room for the keys.",
        )
        return
    try:
        store = destination_store(rule.destination)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
        return
    probe = _Probe(rule, store, key)
    try:
        yield from probe.examine()
    finally:
        gone = probe.delete()
    if gone is not None:
        yield gone


@dataclass
class _Body:
    """The bytes of the probe, once."""

    left: bytes = CONTENT

    @property
    def len(self) -> int:
        return len(CONTENT)

    def read(self, size: int = -1) -> bytes:
        taken, self.left = (self.left, b"") if size < 0 else (self.left[:size], self.left[size:])
        return taken


@dataclass
class _Probe:
    rule: ReplicationRule
    store: DestinationStore
    key: str
    _may_be_there: bool = field(default=False)

    def examine(self) -> Findings:
        """Everything but the delete."""
        plain = ReplicaAttributes(storage_class="Standard", encryption=_encryption(self.rule))
        written = self._put(plain)
        if isinstance(written, ReplicationError):
            yield self._not_written(written)
            return
        yield passed(Check.DESTINATION_WRITE, f"{self.key!r} is written, with a V4 signature")
        yield _compare_checksum(written)
        tagged = replace(plain, tags=_TAGS)
        yield self._put_with(
            tagged,
            Check.DESTINATION_TAGS,
            "objects may be tagged",
            "objects with tags are not copied: tags may not be written",
            "oss:PutObjectTagging",
        )
        if self.rule.acl != ObjectAcl.DEFAULT:
            yield self._put_with(
                replace(plain, acl=self.rule.acl),
                Check.DESTINATION_ACL,
                f"objects may be made {self.rule.acl}",
                f"nothing is copied: the rule makes replicas {self.rule.acl}, and that may not be",
                "oss:PutObjectAcl",
            )
        yield from self._read_back()
        yield from self._parts()

    def delete(self) -> Finding | None:
        """Delete it, in any case; None if it never was there."""
        if not self._may_be_there:
            return None
        try:
            self.store.delete(self.key)
        except ReplicationError as error:
            stays = f"the {len(CONTENT)} bytes of {self.key!r} stay"
            if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
                found = from_error(Check.DESTINATION_DELETE, error)
                return replace(found, found=f"{found.found}; {stays}")
            if self.rule.delete_policy == DeletePolicy.MIRROR:
                return failed(
                    Check.DESTINATION_DELETE,
                    f"the rule mirrors deletes, and nothing may be deleted; {stays} "
                    f"({error.detail})",
                    fix=self._grant("oss:DeleteObject"),
                )
            return warned(
                Check.DESTINATION_DELETE,
                f"the rule keeps replicas and needs no right to delete; {stays}, and the next run "
                f"writes them again ({error.detail})",
                fix="Nothing. Or delete it by hand, and grant oss:DeleteObject on "
                f"acs:oss:*:*:{self.rule.destination.bucket}/{self.key} alone.",
            )
        return passed(Check.DESTINATION_DELETE, f"{self.key!r} is deleted again")

    def _put(self, attributes: ReplicaAttributes) -> Receipt | ReplicationError:
        try:
            receipt = self.store.put(self.key, _Body(), attributes)
        except ReplicationError as error:
            self._may_be_there |= error.may_still_land
            return error
        self._may_be_there = True
        return receipt

    def _not_written(self, error: ReplicationError) -> Finding:
        fix = ""
        if error.code is ErrorCode.DESTINATION_ACCESS_DENIED:
            fix = self._grant("oss:PutObject")
        elif error.code is ErrorCode.DESTINATION_REFUSED:
            fix = (
                "The endpoint refuses a plain object with a V4 signature, the only kind that "
                "s3sync makes. If it knows V1 alone, as old private installations do, have it "
                "upgraded; if a proxy is in between, take it out of the way."
            )
        return from_error(Check.DESTINATION_WRITE, error, fix=fix)

    def _put_with(
        self, attributes: ReplicaAttributes, check: Check, can: str, can_not: str, action: str
    ) -> Finding:
        answer = self._put(attributes)
        if not isinstance(answer, ReplicationError):
            return passed(check, can)
        if answer.code is ErrorCode.DESTINATION_ACCESS_DENIED:
            return failed(check, f"{can_not} ({answer.detail})", fix=self._grant(action))
        return from_error(check, answer)

    def _read_back(self) -> Findings:
        try:
            found = self.store.open(self.key)
            content = None
            if found is not None:
                with found:
                    content = found.read(len(CONTENT) + 1)
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_READ,
                error,
                "replicas may not be read: `verify` can't compare, and a large object that is "
                "there already is copied once more",
                "oss:GetObject",
            )
        else:
            if content == CONTENT:
                yield passed(Check.DESTINATION_READ, "it is read back, byte for byte")
            else:
                what = "is not there" if content is None else "has other bytes"
                yield failed(
                    Check.DESTINATION_READ,
                    f"{self.key!r} was written, and {what} when it is read back",
                    fix="Look for another writer of the bucket, a lifecycle rule, or a proxy or "
                    "CDN between here and OSS: the endpoint must lead to the bucket itself.",
                )
        try:
            self.store.tags(self.key)
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_READ,
                error,
                "tags of replicas may not be read: `verify` can't compare those that have any",
                "oss:GetObjectTagging",
            )

    def _parts(self) -> Findings:
        """A large object's upload is begun and given up: no part of it is ever written."""
        attributes = ReplicaAttributes(encryption=_encryption(self.rule))
        try:
            upload_id = self.store.create_upload(self.key, attributes)
        except ReplicationError as error:
            yield from_error(Check.DESTINATION_PARTS, error)
            return
        try:
            self.store.abort_upload(self.key, upload_id)
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_PARTS,
                error,
                "uploads may not be given up: parts of interrupted ones stay, and are billed. "
                f"That of {self.key!r} stays, too, without a part",
                "oss:AbortMultipartUpload",
            )
        else:
            yield passed(Check.DESTINATION_PARTS, "a large object's upload is begun and given up")
        try:
            next(iter(self.store.list_uploads(self.key)), None)
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_PARTS,
                error,
                "unfinished uploads may not be listed: those that nobody knows of are not cleaned "
                "up",
                "oss:ListMultipartUploads",
            )

    def _optional(
        self, check: Check, error: ReplicationError, consequence: str, action: str
    ) -> Finding:
        """Something that replication can do without."""
        if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
            return from_error(check, error)
        return warned(check, f"{consequence} ({error.detail})", fix=self._grant(action))

    def _grant(self, action: str) -> str:
        bucket, profile = self.rule.destination.bucket, self.rule.destination.credential_profile
        start = self.rule.destination_key(self.rule.source_prefix)
        # About a bucket, not its objects.
        on = f"{bucket}" if action == "oss:ListMultipartUploads" else f"{bucket}/{start}*"
        return (
            f"Grant {action} on acs:oss:*:*:{on} to the RAM user of the credential profile "
            f"{profile!r} (`manage.py provision --write DIR` writes the policy); a bucket policy "
            "may deny it besides."
        )


def _encryption(rule: ReplicationRule) -> Encryption | None:
    if rule.encryption == EncryptionMethod.BUCKET:
        return None
    return Encryption(rule.encryption, rule.kms_key_id)


def _compare_checksum(receipt: Receipt) -> Finding:
    ours = str(CRC64.calc(CONTENT))
    if not receipt.crc64:
        return unknown(
            Check.DESTINATION_CHECKSUM,
            "the answer has no CRC-64: no copy can be checked",
            fix="Point the endpoint at OSS itself: what is between takes x-oss-hash-crc64ecma off.",
        )
    if receipt.crc64 != ours:
        return failed(
            Check.DESTINATION_CHECKSUM,
            f"OSS has the CRC-64 {receipt.crc64} of what was sent, and we have {ours}",
            fix="What arrives is not what was sent. Look for a proxy between here and OSS; test "
            "this host's memory.",
        )
    return passed(Check.DESTINATION_CHECKSUM, f"OSS has the CRC-64 that we have: {ours}")
