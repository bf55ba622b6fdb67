"""Planned keys and metadata, written and read with OSS's own SDK, lead back to the source."""

import oss2
import pytest

from replication.mapping.keys import KeyPolicy, PlannedKey, original_key, plan_key
from replication.mapping.metadata import (
    MetadataPolicy,
    original_content_headers,
    original_metadata,
    plan_content_headers,
    plan_metadata,
)
from replication.mapping.tags import TagPolicy, plan_tags
from sandbox.oss import OssServer
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.road import OSS_REGION

METADATA = {
    "plain": "as it is",
    "taken_by": "\xe6\x97\xa5",  # UTF-8 bytes as the HTTP client returns them
    "s3sync-etag": "of an earlier copy",
    "s3sync-meta-taken-5fby": "looks rewritten",
    "line": " a\nb ",
}
HEADERS = {
    "content-type": "text/plain; charset=utf-8",
    "content-disposition": 'attachment; filename="\xe6\x97\xa5 50%.txt"',
}


@pytest.fixture
def replicas(oss: OssServer) -> oss2.Bucket:
    auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
    return oss2.Bucket(auth, oss.endpoint, "replica", region=OSS_REGION, enable_crc=False)


@pytest.mark.parametrize(
    "wanted_key",
    ["a//b/./../c", "/leading", "..", "a\0\r\ufffe", "a/.s3sync-key/escaped/b", "图" * 341 + "x"],
)
def test_a_replica_leads_back_to_its_source(replicas: oss2.Bucket, wanted_key: str) -> None:
    key = plan_key(wanted_key, policy=KeyPolicy.REWRITE)
    assert isinstance(key, PlannedKey)
    headers = plan_content_headers(HEADERS, policy=MetadataPolicy.REWRITE)
    metadata = plan_metadata(
        METADATA,
        policy=MetadataPolicy.REWRITE,
        provenance={"s3sync-etag": "e"} | key.provenance | headers.provenance,
    )
    sent = {f"x-oss-meta-{name}": value for name, value in metadata.fields.items()}
    replicas.put_object(key.key, b"content", headers=headers.headers | sent)

    [listed] = [each.key for each in oss2.ObjectIteratorV2(replicas)]
    answer = replicas.head_object(listed).headers
    fields = {
        name.lower().removeprefix("x-oss-meta-"): value
        for name, value in answer.items()
        if name.lower().startswith("x-oss-meta-")
    }
    assert fields["s3sync-etag"] == "e"
    assert original_key(listed, fields) == wanted_key
    assert original_metadata(fields) == METADATA
    kept = {name: answer[name] for name in HEADERS}
    assert original_content_headers(kept, fields) == HEADERS


def test_a_rewritten_key_survives_the_xml_of_a_multipart_upload(replicas: oss2.Bucket) -> None:
    key = plan_key("a\x01b", policy=KeyPolicy.REWRITE)
    assert isinstance(key, PlannedKey)
    upload_id = replicas.init_multipart_upload(key.key).upload_id
    part = replicas.upload_part(key.key, upload_id, 1, b"content")
    replicas.complete_multipart_upload(key.key, upload_id, [oss2.models.PartInfo(1, part.etag)])
    assert [each.key for each in oss2.ObjectIteratorV2(replicas)] == [key.key]


def test_planned_tags_arrive(replicas: oss2.Bucket) -> None:
    planned = plan_tags({"a": "b +-=._:/", "at": "@"}, policy=TagPolicy.DROP)
    tagging = oss2.models.Tagging()
    for name, value in planned.tags.items():
        tagging.tag_set.add(name, value)
    replicas.put_object("k", b"")
    replicas.put_object_tagging("k", tagging)
    assert replicas.get_object_tagging("k").tag_set.tagging_rule == {"a": "b +-=._:/"}
