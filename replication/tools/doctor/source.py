"""Checks of a source: objects can be read, and a missing object is not taken for a forbidden one.

Nothing is written to the source but the canary of a rule that has one.
"""

from uuid import uuid4

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.models import ArchivePolicy, DeletePolicy, ReplicationRule, SourceKind
from replication.stores.base import ObjectInfo, SourceStore
from replication.stores.factory import source_store
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Listing
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    Level,
    failed,
    from_error,
    mistaken,
    passed,
    unknown,
    warned,
)
from replication.tools.provisioning.arns import bucket_arn

# How many objects to open at most until one can be read: the first may be archived.
_MAX_OPENED = 3

# These errors concern one object, not the set-up.
_OBJECT_ERRORS = {
    ErrorCode.SOURCE_ARCHIVED,
    ErrorCode.SOURCE_CUSTOMER_KEY,
    ErrorCode.SOURCE_CHANGED,
}


def check_source(rule: ReplicationRule) -> Findings:
    """Read from the rule's source as a transfer does."""
    missing_key = f"{rule.source_prefix}s3sync-doctor/{uuid4()}{rule.source_suffix}"
    if rule.source.mistakes:
        yield from mistaken(rule.source.mistakes, of="source")
        return
    try:
        store = source_store(rule.source)
        if rule.source.kind == SourceKind.HTTP:
            yield _check_web_server(store, missing_key)
        else:
            yield from _check_s3(store, missing_key, rule)
    except ReplicationError as error:
        yield from_error(Check.SOURCE_READ, error)


def _check_web_server(store: SourceStore, missing_key: str) -> Finding:
    try:
        with store.open(missing_key):
            pass
    except ObjectMissing:
        return passed(Check.SOURCE_MISSING, "the web server answers 404 for a missing path")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_LENGTH_UNKNOWN:
            return from_error(Check.SOURCE_MISSING, error)
    return warned(
        Check.SOURCE_MISSING,
        "the web server answers 200 for a missing path: its error page would be copied, and no "
        "delete is ever noticed",
        fix="Have the web server answer 404 for a missing path.",
    )


def _check_s3(store: SourceStore, missing_key: str, rule: ReplicationRule) -> Findings:
    source = rule.source
    listing = _list(rule)
    if isinstance(listing, Listing):
        yield passed(Check.SOURCE_LIST, f"the keys of {source.bucket} can be listed")
        region = listing.bucket_region
        if region and region != source.region:
            yield failed(
                Check.SOURCE_REGION,
                f"the bucket {source.bucket} is in {region}, but the source's region is set to "
                f"{source.region}",
                fix=f"Set the source's region to {region}; its queue must be in that region too.",
            )
            return
    else:
        yield listing
        if listing.check is not Check.SOURCE_LIST:
            return
    keys = listing.keys if isinstance(listing, Listing) else ()
    sample = _sample(store, keys, rule)
    if isinstance(sample, Finding):
        yield sample
        return
    missing = _missing(store, missing_key, rule, can_list=isinstance(listing, Listing))
    if missing is None:
        return  # every other request would be denied for the same reason, and tell nothing
    yield missing
    if missing.level is Level.FAIL:
        return
    yield _read(sample, has_keys=bool(keys))
    yield _tags(store, missing_key, sample, rule)
    if sample is not None and sample[1].version_id and sample[1].is_pinnable:
        yield _versions(store, *sample, rule)
    if rule.archive_policy == ArchivePolicy.RESTORE:
        yield _restore(store, missing_key, rule)
    if rule.canary:
        yield _canary(store, rule)


def _list(rule: ReplicationRule) -> Listing | Finding:
    """The first keys, or a finding; a finding other than of SOURCE_LIST ends the checks."""
    source = rule.source
    try:
        return aws.list_first_keys(source, prefix=rule.source_prefix, limit=_MAX_OPENED)
    except ObjectMissing:
        return unknown(Check.SOURCE_LIST, "the server does not support ListObjectsV2")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_ACCESS_DENIED:
            return from_error(Check.SOURCE_READ, error)
        consequence = (
            "no delete is ever mirrored"
            if rule.delete_policy == DeletePolicy.MIRROR
            else "jobs of missing objects hold up the rule"
        )
        return failed(
            Check.SOURCE_LIST,
            f"the bucket may not be listed: S3 answers 403, not 404, for a missing object, so "
            f"{consequence} ({error.detail})",
            fix=_grant(rule, "s3:ListBucket", on=_arn(rule)) + _payer_hint(rule),
        )


def _sample(
    store: SourceStore, keys: tuple[str, ...], rule: ReplicationRule
) -> tuple[str, ObjectInfo] | Finding | None:
    """The key and info of an object that can be read; None if there is none to try.

    A finding says why objects can't be read.
    """
    for key in keys:
        try:
            with store.open(key) as found:
                return key, found.info
        except ObjectMissing:
            continue
        except ReplicationError as error:
            if error.code in _OBJECT_ERRORS:
                continue
            if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
                return failed(
                    Check.SOURCE_READ,
                    f"the object {key!r} may not be read, so it is not copied ({error.detail})",
                    fix="Grant s3:GetObject on the bucket's objects to the source's credential "
                    "profile; if they are encrypted with a KMS key, also kms:Decrypt on that key: "
                    "S3 gives the same answer where it is missing. `manage.py provision --write "
                    "DIR` writes the policy, except for the key." + _payer_hint(rule),
                )
            return from_error(Check.SOURCE_READ, error)
    return None


def _missing(
    store: SourceStore, key: str, rule: ReplicationRule, *, can_list: bool
) -> Finding | None:
    """Check the answer for a key that does not exist; None if the cause was already reported."""
    try:
        with store.open(key):
            return warned(
                Check.SOURCE_MISSING,
                f"the server answers 200 for the missing object {key!r}: no delete is ever noticed",
                fix="Correct the source's endpoint: this server is not S3.",
            )
    except ObjectMissing:
        return passed(Check.SOURCE_MISSING, "S3 answers 404 for a missing object")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_ACCESS_DENIED:
            return from_error(Check.SOURCE_MISSING, error)
        if not can_list:
            return None
        arn = _arn(rule)
        return failed(
            Check.SOURCE_MISSING,
            f"S3 answers 403, not 404, for a missing object, so no delete is mirrored "
            f"({error.detail})",
            fix=f"Grant s3:GetObject on {arn}/{rule.source_prefix}*, and s3:ListBucket on {arn} "
            "without the condition s3:prefix, which never holds for a GET, to the credential "
            f"profile {rule.source.credential_profile!r} (`manage.py provision --write DIR` writes "
            "the policy).",
        )


def _read(sample: tuple[str, ObjectInfo] | None, *, has_keys: bool) -> Finding:
    if sample is None and has_keys:
        return unknown(
            Check.SOURCE_READ,
            f"the first objects (up to {_MAX_OPENED}) are archived, encrypted with a key that only "
            "their owner has, or just changed",
        )
    if sample is None:
        return passed(Check.SOURCE_READ, "the source has no object yet to read")
    key, info = sample
    how = f"encrypted with {info.encryption}" if info.encryption else "not encrypted"
    return passed(Check.SOURCE_READ, f"{key!r} can be read ({how})")


def _tags(
    store: SourceStore,
    missing_key: str,
    sample: tuple[str, ObjectInfo] | None,
    rule: ReplicationRule,
) -> Finding:
    """S3 reports no tags to a caller that may not read them, so they would be lost silently."""
    key, version_id = (sample[0], sample[1].version_id) if sample else (missing_key, "")
    try:
        store.tags(key, version_id=version_id)
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            actions = "s3:GetObjectTagging"
            if version_id:
                actions += " and s3:GetObjectVersionTagging"
            return warned(
                Check.SOURCE_TAGS,
                f"tags may not be read, so replicas have no tags ({error.detail})",
                fix=_grant(rule, actions, on=f"{_arn(rule)}/*"),
            )
        if error.code is ErrorCode.SOURCE_UNSUPPORTED:
            return warned(
                Check.SOURCE_TAGS,
                f"the source does not support tags, so replicas have none ({error.detail})",
                fix="Nothing, if the objects have no tags; otherwise use a source that has them.",
            )
        if error.code is not ErrorCode.SOURCE_CHANGED:  # a missing object has no tags
            return from_error(Check.SOURCE_TAGS, error)
    return passed(Check.SOURCE_TAGS, "tags can be read")


def _versions(store: SourceStore, key: str, info: ObjectInfo, rule: ReplicationRule) -> Finding:
    """Parts of a large object are read by its version."""
    if not info.size_bytes:
        return unknown(Check.SOURCE_VERSIONS, f"{key!r} is empty, so no part of it can be read")
    try:
        with store.open_range(key, first_byte=0, last_byte=0, pin=info):
            pass
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            return failed(
                Check.SOURCE_VERSIONS,
                f"the bucket keeps versions, but they may not be read: no large object is copied "
                f"({error.detail})",
                fix=_grant(rule, "s3:GetObjectVersion", on=f"{_arn(rule)}/*"),
            )
        if error.code not in {ErrorCode.SOURCE_CHANGED, ErrorCode.SOURCE_RANGE_IGNORED}:
            return from_error(Check.SOURCE_VERSIONS, error)
    return passed(Check.SOURCE_VERSIONS, "the bucket keeps versions, and they can be read")


def _restore(store: SourceStore, missing_key: str, rule: ReplicationRule) -> Finding:
    """Ask for the restore of a missing object, so that nothing is restored."""
    try:
        store.request_restore(missing_key, days=rule.restore_days, tier=rule.restore_tier)
    except ObjectMissing:
        pass
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            return failed(
                Check.SOURCE_RESTORE,
                f"the rule restores archived objects, but that is denied: they are not copied "
                f"({error.detail})",
                fix=_grant(rule, "s3:RestoreObject", on=f"{_arn(rule)}/*"),
            )
        return from_error(Check.SOURCE_RESTORE, error)
    return passed(Check.SOURCE_RESTORE, "archived objects may be restored")


def _canary(store: SourceStore, rule: ReplicationRule) -> Finding:
    """Put the canary, as the service does every 5 minutes."""
    key = rule.canary_key
    if not rule.matches(key):
        return failed(
            Check.SOURCE_CANARY,
            f"the rule's filters leave out its canary {key!r}, so no event of it ever counts",
            fix=f"Add {key} as a line to the rule's include, and remove the glob of exclude that "
            "matches it; or switch the rule's canary off.",
        )
    try:
        store.put(key, b"A canary of s3sync, put by doctor\n")
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            return warned(
                Check.SOURCE_CANARY,
                f"the rule's canary {key!r} may not be written, so lost events show only in the "
                f"next comparison of the buckets ({error.detail})",
                fix=_grant(rule, "s3:PutObject", on=f"{_arn(rule)}/{key}")
                + " If the bucket encrypts with a KMS key, also grant kms:GenerateDataKey on it.",
            )
        return from_error(Check.SOURCE_CANARY, error)
    return passed(Check.SOURCE_CANARY, f"the rule's canary {key!r} can be written")


def _arn(rule: ReplicationRule) -> str:
    return bucket_arn(rule.source.bucket, region=rule.source.region)


def _payer_hint(rule: ReplicationRule) -> str:
    """S3 denies a request without the payer's consent like one without a grant."""
    if rule.source.requester_pays:
        return ""
    return (
        " Or, if the bucket belongs to another account and makes the requester pay, set 'requester "
        "pays' on the source."
    )


def _grant(rule: ReplicationRule, actions: str, *, on: str) -> str:
    return (
        f"Grant {actions} on {on} to the credential profile "
        f"{rule.source.credential_profile!r} (`manage.py provision --write DIR` writes the policy)."
    )
