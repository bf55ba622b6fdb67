"""What only S3 sources have, tested with MiniStack and moto."""

import base64
import hashlib
from io import BytesIO
from typing import Any

import pytest
from anycrc import Model

from replication.errors import ErrorCode, ObjectMissing
from replication.stores.base import ObjectInfo, RestoreStatus
from replication.stores.s3.store import S3Store
from sandbox.ministack import MiniStack
from tests.stores.conftest import SourceCase, read_all, s3_case, s3_store, scripted_s3
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "a.txt"
ETAG = hashlib.md5(b"x").hexdigest()
CONTENT = b"0123456789"


def opened(source: SourceCase, key: str = KEY) -> ObjectInfo:
    with source.store.open(key) as found:
        return found.info


def test_a_missing_bucket_is_not_a_missing_object(s3_source: SourceCase) -> None:
    store = s3_store(s3_source.server, "no-such-bucket")
    for ask in (store.open, store.head):
        with failing(ErrorCode.SOURCE_BUCKET_MISSING):
            ask(KEY)


# -- versions ----------------------------------------------------------------------------------


def test_the_version_id_is_given_for_versioned_objects(s3_source: SourceCase) -> None:
    assert s3_source.put("before")
    s3_source.enable_versioning()
    version_id = s3_source.put(KEY)["VersionId"]
    assert opened(s3_source).version_id == version_id
    assert opened(s3_source, "before").version_id == ""


def test_a_range_of_an_overwritten_version_can_be_read(s3_source: SourceCase) -> None:
    s3_source.enable_versioning()
    s3_source.put(KEY, CONTENT)
    pin = opened(s3_source)
    s3_source.put(KEY, b"something else")
    if isinstance(s3_source.server, MiniStack):  # it ignores Range for a version
        with failing(ErrorCode.SOURCE_RANGE_IGNORED):
            s3_source.store.open_range(KEY, first_byte=2, last_byte=4, pin=pin)
        return
    with s3_source.store.open_range(KEY, first_byte=2, last_byte=4, pin=pin) as piece:
        assert read_all(piece) == b"234"
        assert (piece.info.version_id, piece.info.size_bytes) == (pin.version_id, len(CONTENT))


def test_a_range_of_a_deleted_version_is_refused(s3_source: SourceCase) -> None:
    s3_source.enable_versioning()
    s3_source.put(KEY, CONTENT)
    pin = opened(s3_source)
    s3_source.s3.delete_object(Bucket=s3_source.bucket, Key=KEY, VersionId=pin.version_id)
    with failing(ErrorCode.SOURCE_CHANGED):
        s3_source.store.open_range(KEY, first_byte=2, last_byte=4, pin=pin)


def test_a_delete_marker_is_a_missing_object(s3_source: SourceCase) -> None:
    s3_source.enable_versioning()
    s3_source.put(KEY)
    s3_source.delete(KEY)
    for ask in (s3_source.store.open, s3_source.store.head):
        with pytest.raises(ObjectMissing):
            ask(KEY)


# -- head --------------------------------------------------------------------------------------


def test_head_and_get_describe_the_object_alike(s3_source: SourceCase) -> None:
    s3_source.put(KEY, CONTENT, Metadata={"a": "b"}, CacheControl="no-store")
    headed, got = s3_source.store.head(KEY), opened(s3_source)
    assert headed.request_id == "" or headed.request_id != got.request_id
    for name in ("size_bytes", "etag", "md5", "content_headers", "user_metadata", "is_pinnable"):
        assert getattr(headed, name) == getattr(got, name), name


def test_head_of_a_missing_object_says_so(s3_source: SourceCase) -> None:
    with pytest.raises(ObjectMissing):
        s3_source.store.head(KEY)


# -- tags --------------------------------------------------------------------------------------


def test_tags_are_counted_and_returned(s3_source: SourceCase) -> None:
    s3_source.put(KEY, Tagging="team=a%20b&stage=%E6%97%A5&empty=")
    assert opened(s3_source).tag_count == 3
    tags = s3_source.store.tags(KEY, version_id="")
    assert tags == {"team": "a b", "stage": "日", "empty": ""}


def test_an_object_without_tags_has_none(s3_source: SourceCase) -> None:
    s3_source.put(KEY)
    assert opened(s3_source).tag_count == 0
    assert s3_source.store.tags(KEY, version_id="") == {}


def test_tags_are_of_the_given_version(s3_source: SourceCase) -> None:
    s3_source.enable_versioning()
    version_id = s3_source.put(KEY, Tagging="a=old")["VersionId"]
    s3_source.put(KEY, Tagging="a=new")
    assert s3_source.store.tags(KEY, version_id=version_id) == {"a": "old"}


def test_tags_of_a_deleted_object_mean_a_changed_source(s3_source: SourceCase) -> None:
    s3_source.enable_versioning()
    version_id = s3_source.put(KEY, Tagging="a=1")["VersionId"]
    s3_source.s3.delete_object(Bucket=s3_source.bucket, Key=KEY, VersionId=version_id)
    for wanted in (version_id, ""):
        with failing(ErrorCode.SOURCE_CHANGED):
            s3_source.store.tags(KEY, version_id=wanted)


# -- checksums ---------------------------------------------------------------------------------


def crc(model: str, size_bytes: int) -> str:
    return base64.b64encode(Model(model).calc(CONTENT).to_bytes(size_bytes, "big")).decode()


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("SHA256", base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()),
        ("SHA1", base64.b64encode(hashlib.sha1(CONTENT).digest()).decode()),
        ("CRC32", crc("CRC32", 4)),
        ("CRC32C", crc("CRC32C", 4)),
        ("CRC64NVME", crc("CRC64-NVME", 8)),
    ],
)
def test_a_checksum_of_the_whole_object_comes_with_it(
    s3_source: SourceCase, algorithm: str, value: str
) -> None:
    # With a value given, boto3 does not add the algorithm's name; moto needs it.
    s3_source.put(KEY, CONTENT, ChecksumAlgorithm=algorithm, **{f"Checksum{algorithm}": value})
    assert opened(s3_source).checksums == {algorithm: value}
    assert s3_source.store.head(KEY).checksums == {algorithm: value}
    assert s3_source.read(KEY) == CONTENT


def test_a_composite_checksum_is_not_one_of_the_object(s3_source: SourceCase) -> None:
    upload = {"Bucket": s3_source.bucket, "Key": KEY}
    upload_id = s3_source.s3.create_multipart_upload(
        **upload, ChecksumAlgorithm="CRC32", ChecksumType="COMPOSITE"
    )["UploadId"]
    upload["UploadId"] = upload_id
    part = s3_source.s3.upload_part(**upload, PartNumber=1, Body=CONTENT, ChecksumAlgorithm="CRC32")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
    s3_source.s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": parts}, ChecksumType="COMPOSITE"
    )
    info = opened(s3_source)
    assert info.etag.endswith("-1")
    assert (info.checksums, info.md5) == ({}, "")


# -- storage classes, archives, encryption -----------------------------------------------------


def test_the_storage_class_is_given(s3_source: SourceCase) -> None:
    s3_source.put(KEY, StorageClass="STANDARD_IA")
    assert opened(s3_source).storage_class == "STANDARD_IA"
    assert not opened(s3_source).is_archived


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_can_be_described_but_not_read(
    s3_source: SourceCase, storage_class: str
) -> None:
    s3_source.put(KEY, CONTENT, StorageClass=storage_class)
    with failing(ErrorCode.SOURCE_ARCHIVED):
        s3_source.store.open(KEY)
    info = s3_source.store.head(KEY)
    assert (info.storage_class, info.size_bytes) == (storage_class, len(CONTENT))
    assert info.is_archived
    assert info.restore == RestoreStatus.NONE


def test_an_archived_object_is_restored_on_request(s3_source: SourceCase) -> None:
    s3_source.put(KEY, CONTENT, StorageClass="GLACIER")
    s3_source.store.request_restore(KEY, days=2, tier="Bulk")
    info = s3_source.store.head(KEY)
    assert info.restore in {RestoreStatus.ONGOING, RestoreStatus.DONE}
    assert info.is_archived == (info.restore == RestoreStatus.ONGOING)
    s3_source.store.request_restore(KEY, days=2, tier="Bulk")  # no error the second time


def test_a_missing_object_can_not_be_restored(s3_source: SourceCase) -> None:
    with pytest.raises(ObjectMissing):
        s3_source.store.request_restore(KEY, days=1, tier="Standard")


def test_an_etag_is_the_md5_unless_kms_encrypts_the_object(s3_source: SourceCase) -> None:
    s3_source.put(KEY, CONTENT)
    s3_source.put("kms", CONTENT, ServerSideEncryption="aws:kms", SSEKMSKeyId="k")
    assert opened(s3_source).md5 == hashlib.md5(CONTENT).hexdigest()
    info = opened(s3_source, "kms")
    assert (info.md5, info.encryption) == ("", "aws:kms")


def test_an_object_encrypted_with_a_customer_key_can_not_be_read(aws: MiniStack) -> None:
    source = s3_case(aws)  # moto returns it without the key
    source.put(KEY, SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    for ask in (source.store.open, source.store.head):
        with failing(ErrorCode.SOURCE_CUSTOMER_KEY):
            ask(KEY)


# -- answers of S3 that its stand-ins don't give -----------------------------------------------


def test_metadata_is_returned_as_received(origin: HttpOrigin) -> None:
    encoded = "=?UTF-8?B?5pel5pys?="
    origin.answers(b"x", ETag='"e"', x_amz_meta_place=encoded, x_amz_missing_meta="2")
    with scripted_s3(origin).open(KEY) as found:
        assert found.info.user_metadata == {"place": encoded}
        assert found.info.missing_metadata_count == 2


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("gzip, AWS-Chunked , br", "gzip, br"),
        ("aws-chunked,aws-chunked", None),
        ("gzip,br", "gzip,br"),
    ],
)
def test_aws_chunked_is_not_an_encoding_of_the_content(
    origin: HttpOrigin, sent: str, kept: str | None
) -> None:
    origin.answers(b"x", ETag='"e"', Content_Encoding=sent)
    with scripted_s3(origin).open(KEY) as found:
        assert found.info.content_headers.get("content-encoding") == kept
        assert read_all(found) == b"x"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_amz_checksum_crc32": "AAAAAA==-3"}, {}),
        ({"x_amz_checksum_crc32": "AAAAAA==", "x_amz_checksum_type": "COMPOSITE"}, {}),
        (
            {"x_amz_checksum_crc64nvme": "AAAAAAAAAAA=", "x_amz_checksum_type": "FULL_OBJECT"},
            {"CRC64NVME": "AAAAAAAAAAA="},
        ),
    ],
)
def test_only_checksums_of_the_whole_object_are_used(
    origin: HttpOrigin, headers: dict[str, Any], expected: dict[str, str]
) -> None:
    origin.answers(b"x", ETag='"e-3"', **headers)
    with scripted_s3(origin).open(KEY) as found:
        assert found.info.checksums == expected


@pytest.mark.parametrize(
    ("headers", "is_pinnable"),
    [
        ({"ETag": '"abc-5"'}, True),
        ({"ETag": 'W/"abc-5"'}, False),  # so a large object is read in one piece
        ({"ETag": 'W/"abc-5"', "x_amz_version_id": "v1"}, True),
        ({"ETag": 'W/"abc-5"', "x_amz_version_id": "null"}, False),
    ],
)
def test_parts_need_a_strong_etag_or_a_version(
    origin: HttpOrigin, headers: dict[str, Any], is_pinnable: bool
) -> None:
    origin.answers(length=41_943_040, **headers)
    info = scripted_s3(origin).head(KEY)
    assert info.is_pinnable == is_pinnable
    assert info.etag == headers["ETag"].strip('"') + ('"' if "W/" in headers["ETag"] else "")


@pytest.mark.parametrize(
    ("bucket", "endpoint_url", "expected"),
    [
        ("photos", "", (ETAG, True)),
        ("photos", "https://s3.cn-north-1.amazonaws.com.cn", (ETAG, True)),
        ("photos", "https://minio.example", (ETAG, False)),
        ("photos", "https://amazonaws.com.example", (ETAG, False)),
        ("photos--use1-az4--x-s3", "", ("", False)),
    ],
)
def test_an_etag_is_promised_to_be_the_md5_by_aws_alone(
    bucket: str, endpoint_url: str, expected: tuple[str, bool]
) -> None:
    # No other test has a client of this region, with another endpoint in its environment.
    store = S3Store(
        bucket=bucket, region="mx-central-1", endpoint_url=endpoint_url, profile="default"
    )
    with store._object(200, {"etag": f'"{ETAG}"', "content-length": "1"}, BytesIO(b"x")) as found:
        assert (found.info.md5, found.info.md5_is_promised) == expected


@pytest.mark.parametrize(
    ("headers", "is_archived", "restore"),
    [
        ({"x_amz_storage_class": "GLACIER"}, True, RestoreStatus.NONE),
        ({"x_amz_storage_class": "GLACIER_IR"}, False, RestoreStatus.NONE),
        (
            {
                "x_amz_storage_class": "INTELLIGENT_TIERING",
                "x_amz_archive_status": "ARCHIVE_ACCESS",
            },
            True,
            RestoreStatus.NONE,
        ),
        (
            {"x_amz_storage_class": "DEEP_ARCHIVE", "x_amz_restore": 'ongoing-request="true"'},
            True,
            RestoreStatus.ONGOING,
        ),
        (
            {
                "x_amz_storage_class": "GLACIER",
                "x_amz_restore": 'ongoing-request="false", '
                'expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"',
            },
            False,
            RestoreStatus.DONE,
        ),
    ],
)
def test_the_headers_of_an_archived_object_say_whether_it_can_be_read(
    origin: HttpOrigin, headers: dict[str, Any], is_archived: bool, restore: RestoreStatus
) -> None:
    origin.answers(b"x", ETag='"e"', **headers)
    info = scripted_s3(origin).head(KEY)
    assert (info.is_archived, info.restore) == (is_archived, restore)


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        ("404 Not Found", "NoSuchVersion", ErrorCode.SOURCE_CHANGED),
        ("412 Precondition Failed", "PreconditionFailed", ErrorCode.SOURCE_CHANGED),
        ("416 Range Not Satisfiable", "InvalidRange", ErrorCode.SOURCE_CHANGED),
        ("400 Bad Request", "KMS.NotFoundException", ErrorCode.SOURCE_KMS),
        ("400 Bad Request", "KMS.SomethingNew", ErrorCode.SOURCE_KMS),
        ("400 Bad Request", "KMS.ThrottlingException", ErrorCode.SOURCE_THROTTLED),
        ("500 Internal Server Error", "KMS.InternalException", ErrorCode.SOURCE_UNAVAILABLE),
        ("403 Forbidden", "AccessDenied", ErrorCode.SOURCE_ACCESS_DENIED),
        ("409 Conflict", "OperationAborted", ErrorCode.SOURCE_UNAVAILABLE),
    ],
)
def test_error_codes_of_s3_are_translated(
    origin: HttpOrigin, status: str, name: str, code: ErrorCode
) -> None:
    origin.answers(f"<Error><Code>{name}</Code></Error>".encode(), status=status)
    with failing(code):
        scripted_s3(origin).open(KEY)
