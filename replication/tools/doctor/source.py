"""The source's leg: whether objects can be read, and whether one that is gone is told from one that
may not be read. Nothing is written to it."""

from uuid import uuid4

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.models import ArchivePolicy, DeletePolicy, ReplicationRule, SourceKind
from replication.stores.base import ObjectInfo, SourceStore
from replication.stores.factory import source_store
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Listed
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    Level,
    failed,
    from_error,
    passed,
    unknown,
    warned,
)
from replication.tools.provisioning.arns import bucket_arn

# So many objects are opened at most, until one can be read: the first may be archived.
_OPENED_AT_MOST = 3

# Of an object, not of the set-up.
_OF_THE_OBJECT = {
    ErrorCode.SOURCE_ARCHIVED,
    ErrorCode.SOURCE_CUSTOMER_KEY,
    ErrorCode.SOURCE_CHANGED,
}


def examine_source(rule: ReplicationRule) -> Findings:
    """Read from the rule's source as a transfer does."""
    missing_key = f"{rule.source_prefix}s3sync-doctor/{uuid4()}{rule.source_suffix}"
    try:
        store = source_store(rule.source)
        if rule.source.kind == SourceKind.HTTP:
            yield _from_web_server(store, missing_key, rule)
        else:
            yield from _from_s3(store, missing_key, rule)
    except ReplicationError as error:
        yield from_error(Check.SOURCE_READ, error)


def _from_web_server(store: SourceStore, missing_key: str, rule: ReplicationRule) -> Finding:
    try:
        with store.open(missing_key):
            pass
    except ObjectMissing:
        return passed(Check.SOURCE_MISSING, "a path that is not there is answered by 404")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_LENGTH_UNKNOWN:
            return from_error(Check.SOURCE_MISSING, error)
    return warned(
        Check.SOURCE_MISSING,
        "the web server answers 200 for a path that is not there: its error page would be copied, "
        "and no delete is ever seen",
        fix="Have the web server answer 404 for what it does not have.",
    )


def _from_s3(store: SourceStore, missing_key: str, rule: ReplicationRule) -> Findings:
    source = rule.source
    listed = _listed(rule)
    if isinstance(listed, Listed):
        yield passed(Check.SOURCE_LIST, f"the keys of {source.bucket} can be listed")
        region = listed.bucket_region
        if region and region != source.region:
            yield failed(
                Check.SOURCE_REGION,
                f"the bucket {source.bucket} is in {region}, and the source's region is set to "
                f"{source.region}",
                fix=f"Set the source's region to {region}; its queue must be there, too.",
            )
            return
    else:
        yield listed
        if listed.check is not Check.SOURCE_LIST:
            return
    keys = listed.keys if isinstance(listed, Listed) else ()
    sample = _sample(store, keys)
    if isinstance(sample, Finding):
        yield sample
        return
    missing = _missing(store, missing_key, rule, can_list=isinstance(listed, Listed))
    if missing is None:
        return  # whatever else is asked for is denied as well, so it would tell nothing
    yield missing
    if missing.level is Level.FAIL:
        return
    yield _read(sample, has_keys=bool(keys))
    yield _tags(store, missing_key, sample, rule)
    if sample is not None and sample[1].version_id and sample[1].is_pinnable:
        yield _versions(store, *sample, rule)
    if rule.archive_policy == ArchivePolicy.RESTORE:
        yield _restore(store, missing_key, rule)


def _listed(rule: ReplicationRule) -> Listed | Finding:
    """A finding of SOURCE_LIST leaves the rest to be looked at; another is the end."""
    source = rule.source
    try:
        return aws.list_some(source, prefix=rule.source_prefix, at_most=_OPENED_AT_MOST)
    except ObjectMissing:
        return unknown(Check.SOURCE_LIST, "the server has no such request (ListObjectsV2)")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_ACCESS_DENIED:
            return from_error(Check.SOURCE_READ, error)
        consequence = (
            "a delete is never followed"
            if rule.delete_policy == DeletePolicy.MIRROR
            else "jobs of objects that are gone hold up the rule"
        )
        return failed(
            Check.SOURCE_LIST,
            f"the bucket may not be listed: S3 answers 403, not 404, for an object that is gone, "
            f"and {consequence} ({error.detail})",
            fix=_grant(rule, "s3:ListBucket", on=_arn(rule)),
        )


def _sample(store: SourceStore, keys: tuple[str, ...]) -> tuple[str, ObjectInfo] | Finding | None:
    """An object that can be read, and what it is; a finding if none may be."""
    for key in keys:
        try:
            with store.open(key) as found:
                return key, found.info
        except ObjectMissing:
            continue
        except ReplicationError as error:
            if error.code in _OF_THE_OBJECT:
                continue
            if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
                return failed(
                    Check.SOURCE_READ,
                    f"the object {key!r} may not be read ({error.detail})",
                    fix="Grant s3:GetObject on the bucket's objects to the source's credential "
                    "profile; if they are encrypted with a KMS key, kms:Decrypt on that key, too: "
                    "S3 answers the same for it. `manage.py provision --write DIR` writes the "
                    "policy, but for the key.",
                )
            return from_error(Check.SOURCE_READ, error)
    return None


def _missing(
    store: SourceStore, key: str, rule: ReplicationRule, *, can_list: bool
) -> Finding | None:
    """What a key is answered with that surely is not there; None if it was said already."""
    try:
        with store.open(key):
            return warned(
                Check.SOURCE_MISSING,
                f"the server answers 200 for {key!r}, which is not there: no delete is ever seen",
                fix="Correct the source's endpoint: this is no S3.",
            )
    except ObjectMissing:
        return passed(Check.SOURCE_MISSING, "an object that is not there is answered by 404")
    except ReplicationError as error:
        if error.code is not ErrorCode.SOURCE_ACCESS_DENIED:
            return from_error(Check.SOURCE_MISSING, error)
        if not can_list:
            return None
        arn = _arn(rule)
        return failed(
            Check.SOURCE_MISSING,
            f"an object that is not there is answered by 403, so no delete is followed "
            f"({error.detail})",
            fix=f"Grant s3:GetObject on {arn}/{rule.source_prefix}*, and s3:ListBucket on {arn} "
            "without the condition s3:prefix, which holds for no GET, to the credential profile "
            f"{rule.source.credential_profile!r} (`manage.py provision --write DIR` writes the "
            "policy).",
        )


def _read(sample: tuple[str, ObjectInfo] | None, *, has_keys: bool) -> Finding:
    if sample is None and has_keys:
        return unknown(
            Check.SOURCE_READ,
            f"the first {_OPENED_AT_MOST} objects are archived, or encrypted by their owner's key",
        )
    if sample is None:
        return passed(Check.SOURCE_READ, "nothing is there yet to be read")
    key, info = sample
    how = f"encrypted by {info.encryption}" if info.encryption else "not encrypted"
    return passed(Check.SOURCE_READ, f"{key!r} can be read ({how})")


def _tags(
    store: SourceStore,
    missing_key: str,
    sample: tuple[str, ObjectInfo] | None,
    rule: ReplicationRule,
) -> Finding:
    """S3 counts no tags for those who may not read them: they would be lost without a word."""
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
                f"tags may not be read: replicas are without them ({error.detail})",
                fix=_grant(rule, actions, on=f"{_arn(rule)}/*"),
            )
        if error.code is not ErrorCode.SOURCE_CHANGED:  # what is not there has no tags
            return from_error(Check.SOURCE_TAGS, error)
    return passed(Check.SOURCE_TAGS, "tags can be read")


def _versions(store: SourceStore, key: str, info: ObjectInfo, rule: ReplicationRule) -> Finding:
    """A part of a large object is read by its version."""
    if not info.size_bytes:
        return unknown(Check.SOURCE_VERSIONS, f"{key!r} is empty: no part of it can be read")
    try:
        with store.open_range(key, first_byte=0, last_byte=0, pin=info):
            pass
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            return failed(
                Check.SOURCE_VERSIONS,
                f"the bucket keeps versions, and they may not be read: no large object is copied "
                f"({error.detail})",
                fix=_grant(rule, "s3:GetObjectVersion", on=f"{_arn(rule)}/*"),
            )
        if error.code not in {ErrorCode.SOURCE_CHANGED, ErrorCode.SOURCE_RANGE_IGNORED}:
            return from_error(Check.SOURCE_VERSIONS, error)
    return passed(Check.SOURCE_VERSIONS, "the bucket keeps versions, and they can be read")


def _restore(store: SourceStore, missing_key: str, rule: ReplicationRule) -> Finding:
    """Asked for an object that is not there, so nothing is restored."""
    try:
        store.request_restore(missing_key, days=rule.restore_days, tier=rule.restore_tier)
    except ObjectMissing:
        pass
    except ReplicationError as error:
        if error.code is ErrorCode.SOURCE_ACCESS_DENIED:
            return failed(
                Check.SOURCE_RESTORE,
                f"archived objects may not be restored, as the rule says ({error.detail})",
                fix=_grant(rule, "s3:RestoreObject", on=f"{_arn(rule)}/*"),
            )
        return from_error(Check.SOURCE_RESTORE, error)
    return passed(Check.SOURCE_RESTORE, "archived objects may be restored")


def _arn(rule: ReplicationRule) -> str:
    return bucket_arn(rule.source.bucket, region=rule.source.region)


def _grant(rule: ReplicationRule, actions: str, *, on: str) -> str:
    return (
        f"Grant {actions} on {on} to the credential profile "
        f"{rule.source.credential_profile!r} (`manage.py provision --write DIR` writes the policy)."
    )
