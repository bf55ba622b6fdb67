"""Multipart uploads, and copies."""

import hashlib

import anycrc
import oss2
import pytest
from oss2.models import PartInfo

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET

SMALLEST = 102_400
CRC64 = anycrc.Model("CRC64-XZ")


def upload(bucket: oss2.Bucket, key: str, parts: dict[int, bytes]) -> tuple[str, list[PartInfo]]:
    upload_id = bucket.init_multipart_upload(key).upload_id
    infos = []
    for number, data in parts.items():
        part = bucket.upload_part(key, upload_id, number, data)
        assert (part.etag, part.crc) == (
            hashlib.md5(data).hexdigest().upper(),
            CRC64.calc(data),
        )
        infos.append(PartInfo(number, part.etag))
    return upload_id, infos


def test_an_upload_of_parts_becomes_one_object(bucket: oss2.Bucket) -> None:
    sent = {
        "Content-Type": "video/mp4",
        "x-oss-meta-a": "1",
        "x-oss-tagging": "t=1",
        "x-oss-storage-class": "IA",
        "x-oss-object-acl": "private",
    }
    upload_id = bucket.init_multipart_upload("key", headers=sent).upload_id
    parts = {9: b"a" * 300_000, 3: b"b" * SMALLEST, 10_000: b"end"}
    infos = [
        PartInfo(number, bucket.upload_part("key", upload_id, number, data).etag)
        for number, data in parts.items()
    ]
    infos.sort(key=lambda part: part.part_number)
    whole = b"b" * SMALLEST + b"a" * 300_000 + b"end"
    done = bucket.complete_multipart_upload("key", upload_id, infos)
    assert done.crc == CRC64.calc(whole)
    assert done.etag.endswith("-3")
    assert done.etag == done.etag.upper()
    assert bucket.get_object("key").read() == whole
    start = SMALLEST - 5
    assert bucket.get_object("key", byte_range=(start, start + 9)).read() == b"b" * 5 + b"a" * 5
    head = bucket.head_object("key")
    assert (head.object_type, head.etag) == ("Multipart", done.etag)
    for name in ("Content-Type", "x-oss-meta-a", "x-oss-storage-class"):
        assert head.headers[name] == sent[name]
    assert head.headers["x-oss-tagging-count"] == "1"
    assert bucket.get_object_acl("key").acl == "private"
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.complete_multipart_upload("key", upload_id, infos)


def test_a_part_sent_again_replaces_the_first(v4_bucket: oss2.Bucket) -> None:
    upload_id, _ = upload(v4_bucket, "key", {1: b"first"})
    etag = v4_bucket.upload_part("key", upload_id, 1, b"second").etag
    v4_bucket.complete_multipart_upload("key", upload_id, [PartInfo(1, etag)])
    assert v4_bucket.get_object("key").read() == b"second"


def test_parts_are_listed_in_pages(bucket: oss2.Bucket) -> None:
    upload_id, infos = upload(bucket, "key", {number: b"x" * number for number in (1, 2, 5, 7)})
    listed = list(oss2.PartIterator(bucket, "key", upload_id, max_parts=2))
    assert [(part.part_number, part.etag, part.size) for part in listed] == [
        (info.part_number, info.etag, info.part_number) for info in infos
    ]
    page = bucket.list_parts("key", upload_id, marker="2", max_parts=1)
    assert ([part.part_number for part in page.parts], page.is_truncated) == ([5], True)


def test_uploads_are_listed_in_pages_until_they_are_aborted(bucket: oss2.Bucket) -> None:
    ids = {key: [upload(bucket, key, {})[0] for _ in range(2)] for key in ("a/1", "b ö", "c")}
    expected = [(key, upload_id) for key, made in ids.items() for upload_id in sorted(made)]
    for size in (1, 2, 1000):
        listed = oss2.MultipartUploadIterator(bucket, max_uploads=size)
        assert [(each.key, each.upload_id) for each in listed] == expected
    of_key = oss2.ObjectUploadIterator(bucket, "c")
    assert sorted(each.upload_id for each in of_key) == sorted(ids["c"])
    page = bucket.list_multipart_uploads(delimiter="/", prefix="")
    assert page.prefix_list == ["a/"]
    for key, upload_id in expected:
        bucket.abort_multipart_upload(key, upload_id)
    assert not list(oss2.MultipartUploadIterator(bucket))
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.upload_part("c", ids["c"][0], 1, b"x")
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.abort_multipart_upload("c", ids["c"][0])


def test_an_upload_belongs_to_its_key(v4_bucket: oss2.Bucket) -> None:
    upload_id, infos = upload(v4_bucket, "key", {1: b"x"})
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        v4_bucket.complete_multipart_upload("other", upload_id, infos)


def complete_refused(
    bucket: oss2.Bucket, upload_id: str, parts: list[PartInfo]
) -> tuple[int, str, str]:
    """Complete with the parts in the given order, which oss2's own call would sort.

    Returns the status, code and EC of the refusal.
    """
    data = oss2.xml_utils.to_complete_upload_request(parts)
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket._do("POST", BUCKET, "key", data=data, params={"uploadId": upload_id})
    assert not bucket.object_exists("key")
    return refusal.value.status, refusal.value.code, refusal.value.ec


def test_a_wrong_list_of_parts_is_refused_and_the_upload_stays(bucket: oss2.Bucket) -> None:
    upload_id, infos = upload(bucket, "key", {1: b"a" * SMALLEST, 2: b"b"})
    one, two = infos
    for invalid in (PartInfo(2, one.etag), PartInfo(3, two.etag)):
        refused = complete_refused(bucket, upload_id, [one, invalid])
        assert refused[:2] == (400, "InvalidPart")
    order = (400, "InvalidPartOrder", "0042-00000209")
    assert complete_refused(bucket, upload_id, [two, one]) == order
    assert complete_refused(bucket, upload_id, [one, one]) == order
    assert complete_refused(bucket, upload_id, [])[:2] == (400, "MalformedXML")
    bucket.complete_multipart_upload("key", upload_id, infos)
    assert bucket.get_object("key").content_length == SMALLEST + 1


def test_a_part_below_100_kilobytes_must_be_the_last(v4_bucket: oss2.Bucket) -> None:
    upload_id, infos = upload(v4_bucket, "key", {1: b"a" * (SMALLEST - 1), 2: b"b"})
    assert complete_refused(v4_bucket, upload_id, infos) == (
        400,
        "EntityTooSmall",
        "0042-00000213",
    )
    v4_bucket.complete_multipart_upload("key", upload_id, infos[:1])


@pytest.mark.parametrize("number", [0, 10_001, -1, "x"])
def test_a_part_number_is_one_to_ten_thousand(v4_bucket: oss2.Bucket, number: object) -> None:
    upload_id, _ = upload(v4_bucket, "key", {})
    with pytest.raises(oss2.exceptions.InvalidArgument) as refusal:
        v4_bucket.upload_part("key", upload_id, number, b"x")
    assert refusal.value.ec == "0017-00000220"


def test_all_parts_can_be_completed_without_a_list(v4_bucket: oss2.Bucket) -> None:
    upload_id, _ = upload(v4_bucket, "key", {1: b"a" * SMALLEST, 2: b"b"})
    yes = {"x-oss-complete-all": "yes"}
    v4_bucket.complete_multipart_upload("key", upload_id, None, headers=yes)
    assert v4_bucket.get_object("key").content_length == SMALLEST + 1


def test_an_unfinished_upload_is_not_an_object(v4_bucket: oss2.Bucket) -> None:
    upload(v4_bucket, "key", {1: b"x"})
    assert not v4_bucket.object_exists("key")
    assert not list(oss2.ObjectIterator(v4_bucket))


def test_forbidding_overwrites_applies_when_an_upload_completes(v4_bucket: oss2.Bucket) -> None:
    upload_id, infos = upload(v4_bucket, "key", {1: b"new"})
    v4_bucket.put_object("key", b"old")
    forbid = {"x-oss-forbid-overwrite": "true"}
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.complete_multipart_upload("key", upload_id, infos, headers=forbid)
    assert (refusal.value.code, refusal.value.ec) == ("FileAlreadyExists", "0042-00000214")
    assert v4_bucket.get_object("key").read() == b"old"


def test_resumable_upload_of_the_client_library_works(
    v4_bucket: oss2.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("resumable")
    (folder / "file").write_bytes(b"0123456789" * 50_000)
    oss2.resumable_upload(
        v4_bucket,
        "key",
        str(folder / "file"),
        store=oss2.ResumableStore(root=str(folder)),
        multipart_threshold=SMALLEST,
        part_size=SMALLEST,
        num_threads=4,
    )
    assert v4_bucket.get_object("key").read() == b"0123456789" * 50_000


def test_a_copy_keeps_attributes_or_replaces_them(bucket: oss2.Bucket) -> None:
    sent = {"Content-Type": "text/plain", "x-oss-meta-a": "1", "x-oss-tagging": "t=1"}
    etag = bucket.put_object("source ö+%", b"hello", headers=sent).etag
    copied = bucket.copy_object(BUCKET, "source ö+%", "copy")
    assert copied.etag == etag
    head = bucket.head_object("copy").headers
    assert (head["Content-Type"], head["x-oss-meta-a"]) == ("text/plain", "1")
    assert head["x-oss-tagging-count"] == "1"
    replace = {"x-oss-metadata-directive": "REPLACE", "x-oss-meta-b": "2"}
    bucket.copy_object(BUCKET, "copy", "copy", headers=replace)
    head = bucket.head_object("copy").headers
    assert head["x-oss-meta-b"] == "2"
    assert "x-oss-meta-a" not in head
    assert bucket.get_object("copy").read() == b"hello"


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, "application/octet-stream"), ({"Content-Type": "text/html"}, "text/html")],
)
def test_a_copy_that_replaces_metadata_takes_its_type_from_the_request(
    v4_bucket: oss2.Bucket, given: dict[str, str], kept: str
) -> None:
    v4_bucket.put_object("key", b"x", headers={"Content-Type": "text/plain"})
    v4_bucket.copy_object(
        BUCKET, "key", "key", headers={"x-oss-metadata-directive": "REPLACE", **given}
    )
    assert v4_bucket.head_object("key").headers["Content-Type"] == kept


def test_a_copy_of_a_missing_object_is_404(v4_bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.NoSuchKey):
        v4_bucket.copy_object(BUCKET, "absent", "copy")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        v4_bucket.copy_object("absent-bucket", "key", "copy")


def test_a_copy_can_be_conditional(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"x")
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        v4_bucket.copy_object(
            BUCKET, "key", "copy", headers={"x-oss-copy-source-if-match": '"other"'}
        )


def test_parts_can_be_copied(bucket: oss2.Bucket) -> None:
    source = bytes(range(256)) * 1000
    bucket.put_object("source", source)
    upload_id = bucket.init_multipart_upload("key").upload_id
    ranges: dict[int, tuple[int, int] | None] = {1: (0, 149_999), 2: (150_000, 255_999), 3: None}
    infos = [
        PartInfo(
            number,
            bucket.upload_part_copy(BUCKET, "source", byte_range, "key", upload_id, number).etag,
        )
        for number, byte_range in ranges.items()
    ]
    done = bucket.complete_multipart_upload("key", upload_id, infos)
    assert done.crc == CRC64.calc(source + source)
    assert bucket.get_object("key").read() == source + source
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.upload_part_copy(BUCKET, "source", (0, 1), "key", upload_id, 1)


def test_a_copied_range_may_be_open_at_its_end(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("source", b"0123456789")
    upload_id = v4_bucket.init_multipart_upload("key").upload_id
    for beyond in ((10, None), (5, 10)):
        with pytest.raises(oss2.exceptions.InvalidArgument):
            v4_bucket.upload_part_copy(BUCKET, "source", beyond, "key", upload_id, 1)
    copied = v4_bucket.upload_part_copy(BUCKET, "source", (5, None), "key", upload_id, 1)
    v4_bucket.complete_multipart_upload("key", upload_id, [PartInfo(1, copied.etag)])
    assert v4_bucket.get_object("key").read() == b"56789"


def test_the_answer_to_a_part_has_its_md5(v4_bucket: oss2.Bucket) -> None:
    upload_id = v4_bucket.init_multipart_upload("key").upload_id
    answer = v4_bucket.upload_part("key", upload_id, 1, b"x")
    assert answer.headers["Content-MD5"] == oss2.utils.content_md5(b"x")


def test_the_log_has_the_upload_id_and_the_part_number(
    server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    upload_id, infos = upload(v4_bucket, "key", {7: b"x"})
    v4_bucket.complete_multipart_upload("key", upload_id, infos)
    logged = [
        (each.operation, each.upload_id, each.part_number) for each in server.requests(key="key")
    ]
    assert logged == [
        ("InitiateMultipartUpload", None, None),
        ("UploadPart", upload_id, 7),
        ("CompleteMultipartUpload", upload_id, None),
    ]
