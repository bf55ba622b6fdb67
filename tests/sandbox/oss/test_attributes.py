"""Tags, ACLs, storage classes, metadata and encryption: stored, or refused as OSS refuses them."""

from typing import Any

import oss2
import pytest

from sandbox.oss import Denial, OssServer
from tests.sandbox.oss.raw import RawClient


def test_tags_are_stored_with_the_object(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x", headers={"x-oss-tagging": "a=1&b+c=x%2Fy&empty="})
    assert bucket.get_object_tagging("key").tag_set.tagging_rule == {
        "a": "1",
        "b c": "x/y",
        "empty": "",
    }
    assert bucket.head_object("key").headers["x-oss-tagging-count"] == "3"
    assert bucket.get_object("key").headers["x-oss-tagging-count"] == "3"


def test_tags_are_put_and_deleted(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    rule = oss2.models.TaggingRule()
    rule.add("owner", "ops & co".replace("&", "+"))
    bucket.put_object_tagging("key", oss2.models.Tagging(rule))
    assert bucket.get_object_tagging("key").tag_set.tagging_rule == {"owner": "ops + co"}
    assert bucket.delete_object_tagging("key").status == 204
    assert bucket.get_object_tagging("key").tag_set.tagging_rule == {}


@pytest.mark.parametrize(
    "tagging",
    [
        "&".join(f"k{number}=v" for number in range(11)),
        f"{'k' * 129}=v",
        f"k={'v' * 257}",
        "k=a%26b",
        "k=%C3%B6",
        "=v",
        "k=1&k=2",
        "a=b=c",
    ],
)
def test_a_put_with_a_refused_tag_stores_nothing(v4_bucket: oss2.Bucket, tagging: str) -> None:
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": tagging})
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidTag")
    assert not v4_bucket.object_exists("key")


def test_a_lenient_server_takes_metadata_and_tags_beyond_ascii(
    server: OssServer, v4_bucket: oss2.Bucket, raw: RawClient
) -> None:
    server.set_lenient(True)
    value = "例 é".encode()
    raw.send("PUT", "key", {"Content-Length": "0", "x-oss-meta-place": value})
    assert raw.receive().status == 200
    head = raw.request("HEAD", "key")
    assert head.headers["x-oss-meta-place"].encode() == value
    v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "%E9%94%AE=%E4%BE%8B"})
    assert v4_bucket.get_object_tagging("key").tag_set.tagging_rule == {"键": "例"}
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "%E9%94%AE=a%40b"})
    assert refusal.value.code == "InvalidTag"
    server.reset()
    with pytest.raises(oss2.exceptions.OssError):
        v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "%E9%94%AE=a"})


LONG_KEY = f">{'k' * 129}<"
TAG = "<Tag><Key>a</Key><Value>1</Value></Tag>"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MalformedXML"),
        ("<Tagging>", "MalformedXML"),
        ("<Tags><TagSet/></Tags>", "MalformedXML"),
        ("<Tagging></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet><Tag><Value>1</Value></Tag></TagSet></Tagging>", "MalformedXML"),
        (f"<Tagging><TagSet>{TAG}{TAG}</TagSet></Tagging>", "InvalidTag"),
        (f"<Tagging><TagSet>{TAG.replace('1', 'a@b')}</TagSet></Tagging>", "InvalidTag"),
        (f"<Tagging><TagSet>{TAG.replace('>a<', LONG_KEY)}</TagSet></Tagging>", "InvalidTag"),
    ],
)
def test_tags_that_are_refused_leave_the_tags_as_they_were(
    v4_bucket: oss2.Bucket, body: str, code: str
) -> None:
    v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "t=1"})
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket._do("PUT", v4_bucket.bucket_name, "key", data=body, params={"tagging": ""})
    assert (refusal.value.status, refusal.value.code) == (400, code)
    assert v4_bucket.get_object_tagging("key").tag_set.tagging_rule == {"t": "1"}


def test_tags_of_a_missing_object_can_not_be_set(v4_bucket: oss2.Bucket) -> None:
    rule = oss2.models.TaggingRule()
    rule.add("a", "1")
    for request in (
        lambda: v4_bucket.put_object_tagging("key", oss2.models.Tagging(rule)),
        lambda: v4_bucket.delete_object_tagging("key"),
    ):
        with pytest.raises(oss2.exceptions.NoSuchKey):
            request()


def test_the_permissions_to_set_and_to_delete_tags_are_two(
    v4_bucket: oss2.Bucket, server: OssServer
) -> None:
    v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "t=1"})
    server.deny(Denial(actions=("oss:DeleteObjectTagging",)))
    with pytest.raises(oss2.exceptions.AccessDenied):
        v4_bucket.delete_object_tagging("key")
    rule = oss2.models.TaggingRule()
    rule.add("a", "1")
    v4_bucket.put_object_tagging("key", oss2.models.Tagging(rule))
    assert v4_bucket.get_object_tagging("key").tag_set.tagging_rule == {"a": "1"}


def test_the_largest_tags_are_accepted(v4_bucket: oss2.Bucket) -> None:
    tags = "&".join(f"{number}{'k' * 127}={'v' * 256}" for number in range(10))
    v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": tags})
    assert v4_bucket.head_object("key").headers["x-oss-tagging-count"] == "10"


def test_an_acl_can_be_set_and_read(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    assert bucket.get_object_acl("key").acl == "default"
    for acl in ("private", "public-read", "public-read-write", "default"):
        bucket.put_object_acl("key", acl)
        assert bucket.get_object_acl("key").acl == acl
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.put_object_acl("key", "authenticated-read")


@pytest.mark.parametrize("name", ["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"])
def test_a_storage_class_is_stored(v4_bucket: oss2.Bucket, name: str) -> None:
    v4_bucket.put_object("key", b"x", headers={"x-oss-storage-class": name})
    assert v4_bucket.head_object("key").headers["x-oss-storage-class"] == name
    assert next(iter(oss2.ObjectIterator(v4_bucket))).storage_class == name


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-oss-storage-class", "STANDARD_IA"),
        ("x-oss-object-acl", "bucket-owner-full-control"),
        ("x-oss-meta-umlaut", "Größe"),
        ("x-oss-meta-a.b", "x"),
        ("x-oss-meta-large", "x" * 8200),
    ],
)
def test_a_put_with_a_refused_header_stores_nothing(
    v4_bucket: oss2.Bucket, header: str, value: str
) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument):
        v4_bucket.put_object("key", b"x", headers={header: value.encode()})
    assert not v4_bucket.object_exists("key")


def test_metadata_of_eight_kilobytes_is_accepted_and_one_byte_more_is_not(raw: RawClient) -> None:
    largest = 8192 - len("a") - len("b") - 4000
    assert raw.put("key", b"x", x_oss_meta_a="1" * 4000, x_oss_meta_b="2" * largest).status == 200
    refused = raw.put("key", b"x", x_oss_meta_a="1" * 4000, x_oss_meta_b="2" * (largest + 1))
    assert (refused.status, refused.code) == (400, "InvalidArgument")
    assert refused.ec == "0011-00000002"


def test_an_underscore_in_a_metadata_name_is_refused(raw: RawClient) -> None:
    headers: dict[str, str | bytes] = {"Content-Length": "1", "x-oss-meta-a_b": "x"}
    refused = raw.request("PUT", "key", headers, b"x")
    assert (refused.status, refused.code, refused.ec) == (400, "InvalidArgument", "0011-00000004")


def test_an_unknown_encryption_is_refused(v4_bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.InvalidEncryptionAlgorithmError):
        v4_bucket.put_object("key", b"x", headers={"x-oss-server-side-encryption": "ROT13"})


KEY_ID_HEADER = "x-oss-server-side-encryption-key-id"


def encrypted(method: str, key_id: str | None = None) -> dict[str, str]:
    headers = {"x-oss-server-side-encryption": method}
    return headers | ({KEY_ID_HEADER: key_id} if key_id else {})


@pytest.mark.parametrize("method", ["AES256", "KMS", "SM4"])
def test_every_answer_names_the_encryption(v4_bucket: oss2.Bucket, method: str) -> None:
    wanted = encrypted(method)
    put = v4_bucket.put_object("key", b"x", headers=wanted)
    upload = v4_bucket.init_multipart_upload("parts", headers=wanted)
    part = v4_bucket.upload_part("parts", upload.upload_id, 1, b"x")
    listed = [oss2.models.PartInfo(1, part.etag)]
    completed = v4_bucket.complete_multipart_upload("parts", upload.upload_id, listed)
    answers = [put, upload, part, completed]
    answers += [ask(key) for key in ("key", "parts") for ask in _reads(v4_bucket)]
    assert {answer.headers["x-oss-server-side-encryption"] for answer in answers} == {method}


def _reads(bucket: oss2.Bucket) -> list[Any]:
    return [bucket.head_object, bucket.get_object]


def test_a_kms_key_must_be_one_of_the_account(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        v4_bucket.put_object("key", b"x", headers=encrypted("KMS", "my-key"))
    assert (caught.value.code, caught.value.ec) == ("KeyNotFound", "0005-00000208")
    server.add_kms_key("my-key")
    v4_bucket.put_object("key", b"x", headers=encrypted("KMS", "my-key"))
    assert v4_bucket.head_object("key").headers[KEY_ID_HEADER] == "my-key"


def test_a_key_id_is_accepted_with_kms_only(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    server.add_kms_key("my-key")
    with pytest.raises(oss2.exceptions.InvalidArgument):
        v4_bucket.put_object("key", b"x", headers=encrypted("AES256", "my-key"))


@pytest.mark.parametrize(
    ("header", "action"),
    [("x-oss-tagging", "oss:PutObjectTagging"), ("x-oss-object-acl", "oss:PutObjectAcl")],
)
def test_tags_and_acl_in_a_header_need_their_own_permission(
    server: OssServer, v4_bucket: oss2.Bucket, header: str, action: str
) -> None:
    server.deny(Denial(actions=(action,)))
    v4_bucket.put_object("key", b"x")
    value = "private" if "acl" in header else "a=b"
    with pytest.raises(oss2.exceptions.AccessDenied):
        v4_bucket.put_object("key", b"x", headers={header: value})
