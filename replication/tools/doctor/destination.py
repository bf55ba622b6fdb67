"""Checks of a destination: write a small object as the rule writes, read it back, delete it.

The object's key is below the rule's own destination prefix, and behind the mark that only keys of
s3sync's own making contain. So it never replaces a replica.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.keys import REWRITTEN_MARK, key_problem
from replication.models import DeletePolicy, ObjectAcl, ReplicationRule
from replication.stores.base import DestinationStore, Receipt, ReplicaAttributes
from replication.stores.checksums import CRC64
from replication.stores.factory import destination_store
from replication.stores.probe import BytesBody, learn
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
from replication.transfer.attributes import encryption_of
from replication.transfer.capabilities import LearnedOf, plain_attributes

CONTENT = b"s3sync doctor was here, and may be deleted\n"
_TAGS = {"s3sync": "doctor"}


def probe_key(rule: ReplicationRule) -> str:
    """The key of the object that a run writes.

    A rule that mirrors deletes gets a new key for each run. Any other rule may lack the right to
    delete, so it has one key for all runs.
    """
    start = f"{rule.destination_key(rule.source_prefix)}{REWRITTEN_MARK}doctor/"
    return start + (str(uuid4()) if rule.delete_policy == DeletePolicy.MIRROR else rule.name)


def check_destination(
    rule: ReplicationRule, key: str, tell: Callable[[LearnedOf], None]
) -> Findings:
    """Write, read and delete the object of this key; `tell` hears what the bucket takes."""
    if problem := key_problem(key):
        yield failed(
            Check.DESTINATION_KEY,
            f"the rule's prefix makes keys that OSS can't have: {problem}",
            fix="Correct the rule's destination prefix: it must not begin with a slash, must have "
            "no control characters, and must be short enough to leave room for the keys.",
        )
        return
    try:
        store = destination_store(rule.destination)
    except ReplicationError as error:
        yield from_error(Check.CREDENTIALS, error)
        return
    probe = _Probe(rule, store, key, tell)
    try:
        yield from probe.check_all_but_delete()
    finally:
        deletion = probe.delete()
    if deletion is not None:
        yield deletion


@dataclass
class _Probe:
    rule: ReplicationRule
    store: DestinationStore
    key: str
    tell: Callable[[LearnedOf], None]
    _may_exist: bool = field(default=False)

    def check_all_but_delete(self) -> Findings:
        plain = plain_attributes(self.rule)
        written = self._put(plain)
        if isinstance(written, ReplicationError):
            yield self._not_written(written)
            return
        yield passed(Check.DESTINATION_WRITE, f"{self.key!r} was written with a V4 signature")
        yield _compare_checksum(written)
        tagged = replace(plain, tags=_TAGS)
        yield self._put_with(
            tagged,
            Check.DESTINATION_TAGS,
            "tags may be written",
            "tags may not be written, so objects with tags are not copied",
            "oss:PutObjectTagging",
        )
        yield from self._delete_tags()
        if self.rule.acl != ObjectAcl.DEFAULT:
            yield self._put_with(
                replace(plain, acl=self.rule.acl),
                Check.DESTINATION_ACL,
                f"the ACL {self.rule.acl} may be set",
                f"the rule makes replicas {self.rule.acl}, but an ACL may not be set, so nothing "
                "is copied",
                "oss:PutObjectAcl",
            )
        yield from self._read_back()
        yield from self._parts()
        yield self._learn(plain)

    def delete(self) -> Finding | None:
        """Delete the object, if it may exist; None if it never existed."""
        if not self._may_exist:
            return None
        try:
            self.store.delete(self.key)
        except ReplicationError as error:
            stays = f"the object {self.key!r} ({len(CONTENT)} bytes) stays"
            if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
                found = from_error(Check.DESTINATION_DELETE, error)
                return replace(found, found=f"{found.found}; {stays}")
            if self.rule.delete_policy == DeletePolicy.MIRROR:
                return failed(
                    Check.DESTINATION_DELETE,
                    f"the rule mirrors deletes, but objects may not be deleted; {stays} "
                    f"({error.detail})",
                    fix=self._grant("oss:DeleteObject"),
                )
            return warned(
                Check.DESTINATION_DELETE,
                f"the rule keeps replicas and needs no right to delete; {stays}, and the next run "
                f"writes it again ({error.detail})",
                fix="Nothing to do. Or delete the object by hand, and grant oss:DeleteObject on "
                f"acs:oss:*:*:{self.rule.destination.bucket}/{self.key} only.",
            )
        return passed(Check.DESTINATION_DELETE, f"{self.key!r} was deleted again")

    def _put(self, attributes: ReplicaAttributes) -> Receipt | ReplicationError:
        try:
            receipt = self.store.put(self.key, BytesBody(CONTENT), attributes)
        except ReplicationError as error:
            self._may_exist |= error.may_still_land
            return error
        self._may_exist = True
        return receipt

    def _not_written(self, error: ReplicationError) -> Finding:
        fix = ""
        if error.code is ErrorCode.DESTINATION_ACCESS_DENIED:
            fix = self._grant("oss:PutObject")
        elif error.code is ErrorCode.DESTINATION_REFUSED:
            fix = (
                "The endpoint refuses a plain object with a V4 signature, the only signature that "
                "s3sync makes. If the endpoint supports only V1, as old private installations do, "
                "have it upgraded; if a proxy is in between, bypass it."
            )
        return from_error(Check.DESTINATION_WRITE, error, fix=fix)

    def _put_with(
        self, attributes: ReplicaAttributes, check: Check, if_so: str, if_denied: str, action: str
    ) -> Finding:
        answer = self._put(attributes)
        if not isinstance(answer, ReplicationError):
            return passed(check, if_so)
        if answer.code is ErrorCode.DESTINATION_ACCESS_DENIED:
            return failed(check, f"{if_denied} ({answer.detail})", fix=self._grant(action))
        return from_error(check, answer)

    def _delete_tags(self) -> Findings:
        try:
            self.store.set_tags(self.key, {})
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_TAGS,
                error,
                "tags may not be deleted: an object whose tags are deleted is copied again in full",
                "oss:DeleteObjectTagging",
            )

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
                "replicas may not be read: `verify` can't compare them, and a large object that "
                "is already at the destination is copied again",
                "oss:GetObject",
            )
        else:
            if content == CONTENT:
                yield passed(Check.DESTINATION_READ, "the object was read back, byte for byte")
            else:
                what = "is missing" if content is None else "has other bytes"
                yield failed(
                    Check.DESTINATION_READ,
                    f"{self.key!r} was written, but {what} when it is read back",
                    fix="Look for another writer of the bucket, a lifecycle rule, or a proxy or "
                    "CDN between this host and OSS: the endpoint must lead to the bucket itself.",
                )
        try:
            self.store.tags(self.key)
        except ReplicationError as error:
            yield self._optional(
                Check.DESTINATION_READ,
                error,
                "tags of replicas may not be read: `verify` can't compare replicas with tags",
                "oss:GetObjectTagging",
            )

    def _parts(self) -> Findings:
        """Begin a multipart upload and abort it, without writing a part."""
        attributes = ReplicaAttributes(encryption=encryption_of(self.rule))
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
                "uploads may not be aborted: the parts of interrupted uploads stay and are billed. "
                f"The upload of {self.key!r}, which has no parts, stays too",
                "oss:AbortMultipartUpload",
            )
        else:
            yield passed(Check.DESTINATION_PARTS, "a multipart upload can be begun and aborted")

    def _learn(self, plain: ReplicaAttributes) -> Finding:
        """Find out what the bucket takes, with the object that the other checks are done with."""
        try:
            learned = learn(self.store, self.key, plain)
        except ReplicationError as error:
            return from_error(Check.DESTINATION_CHARSET, error)
        self.tell(LearnedOf(self.rule.destination, learned))
        # What the credentials do not permit to find out, the other checks have reported.
        return passed(
            Check.DESTINATION_CHARSET,
            f"beyond ASCII, the bucket takes user metadata: {learned.non_ascii_metadata.label}; "
            f"tags: {learned.non_ascii_tags.label}",
        )

    def _optional(
        self, check: Check, error: ReplicationError, consequence: str, action: str
    ) -> Finding:
        """A warning where an action is denied that replication can do without."""
        if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
            return from_error(check, error)
        return warned(check, f"{consequence} ({error.detail})", fix=self._grant(action))

    def _grant(self, action: str) -> str:
        bucket, profile = self.rule.destination.bucket, self.rule.destination.credential_profile
        start = self.rule.destination_key(self.rule.source_prefix)
        return (
            f"Grant {action} on acs:oss:*:*:{bucket}/{start}* to the RAM user of the credential "
            f"profile {profile!r} (`manage.py provision --write DIR` writes the policy). Also "
            "check that no bucket policy denies it."
        )


def _compare_checksum(receipt: Receipt) -> Finding:
    ours = str(CRC64.calc(CONTENT))
    if not receipt.crc64:
        return unknown(
            Check.DESTINATION_CHECKSUM,
            "the answer has no CRC-64, so no copy can be verified",
            fix="Point the endpoint at OSS itself: something in between removes the header "
            "x-oss-hash-crc64ecma.",
        )
    if receipt.crc64 != ours:
        return failed(
            Check.DESTINATION_CHECKSUM,
            f"OSS did not store the bytes that were sent: CRC-64 is {receipt.crc64}, not {ours}",
            fix="Look for a proxy between this host and OSS that changes bytes; test this host's "
            "memory.",
        )
    return passed(
        Check.DESTINATION_CHECKSUM, f"OSS stored the bytes that were sent: CRC-64 is {ours}"
    )
