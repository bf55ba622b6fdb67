"""Plans the attributes of one replica from its source object and its rule; knows no queue.

They are the attributes of the source, as far as OSS accepts them and as the rule says, and the
provenance: fields that say what the replica is a copy of.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import Capabilities
from replication.mapping.keys import PlannedKey
from replication.mapping.metadata import (
    PROVENANCE_ETAG,
    PROVENANCE_MODIFIED,
    PROVENANCE_SOURCE,
    PROVENANCE_VERSION,
    Dropped,
    MetadataPolicy,
    plan_content_headers,
    plan_metadata,
)
from replication.mapping.ownership import source_mark
from replication.mapping.storage_classes import parse_storage_classes
from replication.mapping.tags import TagPolicy, plan_tags
from replication.models import EncryptionMethod, ObjectAcl, ReplicationRule
from replication.stores.base import Encryption, ObjectInfo, ReplicaAttributes


@dataclass(frozen=True)
class PlannedAttributes:
    """The attributes to write; a remark for each that the replica lacks or has in another form."""

    attributes: ReplicaAttributes
    remarks: tuple[str, ...] = ()


def plan_attributes(
    rule: ReplicationRule,
    info: ObjectInfo,
    *,
    source_key: str,
    tags: Mapping[str, str],
    key: PlannedKey,
    capabilities: Capabilities,
) -> PlannedAttributes:
    """Plan the attributes of the replica of this object under this rule, for a bucket with these
    capabilities.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, if the rule's policy is to fail.
    """
    policy = MetadataPolicy(rule.metadata_policy)
    if info.missing_metadata_count and policy is MetadataPolicy.FAIL:
        raise ReplicationError(
            ErrorCode.METADATA_INCOMPATIBLE,
            f"S3 has {info.missing_metadata_count} user metadata fields that it does not return",
            request_id=info.request_id,
        )
    headers = plan_content_headers(info.content_headers, policy=policy)
    mark = {PROVENANCE_SOURCE: source_mark(rule.source.location, source_key)}
    ours = mark | provenance(info) | key.provenance | headers.provenance
    metadata = plan_metadata(
        info.user_metadata, policy=policy, provenance=ours, capabilities=capabilities
    )
    planned_tags = plan_tags(tags, policy=TagPolicy(rule.tag_policy), capabilities=capabilities)
    dropped = [*headers.dropped, *metadata.dropped, *planned_tags.dropped]
    remarks = [remark_for_dropped(each) for each in dropped]
    remarks += [f"rewritten: {name!r}" for name in (*headers.rewritten, *metadata.rewritten)]
    if key.is_rewritten:
        remarks.append(f"rewritten key: {key.key!r}")
    if info.missing_metadata_count:
        remarks.append(f"without {info.missing_metadata_count} fields that S3 does not return")
    attributes = ReplicaAttributes(
        content_headers=headers.headers,
        user_metadata=metadata.fields,
        tags=planned_tags.tags,
        storage_class=parse_storage_classes(rule.storage_classes).of(info.storage_class).value,
        acl="" if rule.acl == ObjectAcl.DEFAULT else rule.acl,
        encryption=encryption_of(rule),
    )
    return PlannedAttributes(attributes, tuple(remarks))


def provenance(info: ObjectInfo) -> dict[str, str]:
    """The fields of a replica's metadata that say which state of the object it is a copy of."""
    modified = info.last_modified.isoformat() if info.last_modified else ""
    fields = {
        PROVENANCE_ETAG: info.etag,
        PROVENANCE_VERSION: info.version_id,
        PROVENANCE_MODIFIED: modified,
    }
    return {name: value for name, value in fields.items() if value}


def remark_for_dropped(dropped: Dropped) -> str:
    """The remark for an attribute that the replica lacks."""
    return f"without {dropped.name!r}: {dropped.reason}"


def fingerprint(attributes: ReplicaAttributes) -> str:
    """A hash of the attributes, which is the same in every process."""
    text = json.dumps(asdict(attributes), sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def encryption_of(rule: ReplicationRule) -> Encryption | None:
    """How the rule has replicas encrypted; None if the bucket decides."""
    if rule.encryption == EncryptionMethod.BUCKET:
        return None
    return Encryption(rule.encryption, rule.kms_key_id)
