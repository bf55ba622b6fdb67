"""Objects in the archive tiers of INTELLIGENT_TIERING, which are restored without days."""

from collections.abc import Iterator

import pytest

from replication.errors import ErrorCode, ObjectMissing
from replication.stores.s3.headers import EtagKind, object_info
from replication.stores.s3.store import S3Store
from tests.stores.conftest import read_all
from tests.support.failing import failing
from tests.support.small_s3 import SmallS3, StoredObject, small_s3

KEY = "a.txt"
TIERS = ["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"]


@pytest.fixture
def server() -> Iterator[SmallS3]:
    with small_s3() as server:
        yield server


@pytest.fixture
def source(server: SmallS3) -> S3Store:
    return S3Store(bucket="photos", region="us-east-1", endpoint_url=server.url, profile="default")


@pytest.mark.parametrize("tier", TIERS)
def test_an_archive_tier_is_restored_for_good_and_then_read(
    server: SmallS3, source: S3Store, tier: str
) -> None:
    server.objects[KEY] = StoredObject(archive=tier)
    assert source.head(KEY).is_archived
    with failing(ErrorCode.SOURCE_ARCHIVED):
        source.open(KEY)
    assert source.request_restore(KEY, days=3, tier="Bulk") is None
    assert source.head(KEY).is_archived
    assert source.request_restore(KEY, days=3, tier="Bulk") is None  # no error the second time
    server.end_restores()
    assert not source.head(KEY).is_archived
    with source.open(KEY) as found:
        assert read_all(found) == b"content"
    assert source.request_restore(KEY, days=3, tier="Bulk") is None  # nor when nothing is archived


def test_glacier_is_still_restored_for_days(server: SmallS3, source: S3Store) -> None:
    server.objects[KEY] = StoredObject(archive="GLACIER")
    assert source.request_restore(KEY, days=3, tier="Standard") == 3
    assert b"<Days>3</Days>" in server.requests[-1].body


def test_a_speed_that_the_tier_lacks_is_refused_with_s3s_reason(
    server: SmallS3, source: S3Store
) -> None:
    server.objects[KEY] = StoredObject(archive="DEEP_ARCHIVE_ACCESS")
    with failing(ErrorCode.SOURCE_REFUSED) as caught:
        source.request_restore(KEY, days=3, tier="Expedited")
    assert "InvalidArgument" in caught.value.detail


def test_a_missing_object_is_still_asked_for(server: SmallS3, source: S3Store) -> None:
    """Doctor asks for it, to see whether restores are allowed."""
    with pytest.raises(ObjectMissing):
        source.request_restore(KEY, days=1, tier="Bulk")
    assert server.asked()[-1] == "POST ?restore"


@pytest.mark.parametrize(
    ("storage_class", "archive_status", "restore", "is_archived"),
    [
        ("INTELLIGENT_TIERING", "", "", False),
        ("INTELLIGENT_TIERING", "ARCHIVE_ACCESS", "", True),
        ("INTELLIGENT_TIERING", "DEEP_ARCHIVE_ACCESS", 'ongoing-request="true"', True),
        ("INTELLIGENT_TIERING", "ARCHIVE_ACCESS", 'ongoing-request="false"', True),
        ("INTELLIGENT_TIERING", "", 'ongoing-request="true"', False),
        ("GLACIER", "", "", True),
        ("GLACIER", "", 'ongoing-request="true"', True),
        ("DEEP_ARCHIVE", "", 'ongoing-request="false", expiry-date="x"', False),
        ("GLACIER_IR", "", "", False),
        ("STANDARD", "", "", False),
    ],
)
def test_the_archive_status_decides_in_tiers_and_the_restore_status_in_classes(
    storage_class: str, archive_status: str, restore: str, *, is_archived: bool
) -> None:
    headers = {
        "x-amz-storage-class": storage_class,
        "x-amz-archive-status": archive_status,
        "x-amz-restore": restore,
    }
    given = {name: value for name, value in headers.items() if value}
    assert object_info(given, size_bytes=1, etags=EtagKind.MD5).is_archived is is_archived
