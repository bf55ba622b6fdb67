"""Jobs from an S3 with behaviours that the stand-ins lack."""

from collections.abc import Iterator

import pytest

from replication.errors import ErrorCode
from replication.models import ArchivePolicy, JobState, Outcome, TransferJob
from replication.tools.rules_file import apply_rules, export_rules
from tests.support.looking import look_at
from tests.support.road import Road
from tests.support.small_s3 import SmallS3, StoredObject, small_s3
from tests.tools.doctor.conftest import doctor

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a.txt"


@pytest.fixture
def server(road: Road) -> Iterator[SmallS3]:
    """The source of the road."""
    with small_s3() as server:
        road.source.endpoint_url = server.url
        road.source.save()
        yield server


def test_a_denial_of_a_bucket_where_the_requester_pays_names_the_setting(
    road: Road, server: SmallS3
) -> None:
    server.requester_pays = True
    job = look_at(road, KEY)
    assert job.error is not None
    assert job.error_code == ErrorCode.SOURCE_ACCESS_DENIED
    assert "requester pays" in job.error.hint
    found = " ".join(each["fix"] for each in doctor("--profile", "default").bad)
    assert "set 'requester pays' on the source" in found


def test_a_bucket_where_the_requester_pays_is_copied_if_the_source_pays(
    road: Road, server: SmallS3
) -> None:
    server.requester_pays = True
    server.objects[KEY] = StoredObject(b"paid")
    road.source.requester_pays = True
    road.source.save()
    assert look_at(road, KEY).outcome == Outcome.COPIED
    assert road.replica(KEY) == b"paid"
    assert "requester_pays: true" in export_rules()


def test_an_object_in_an_archive_tier_is_restored_and_copied(road: Road, server: SmallS3) -> None:
    road.rule.archive_policy = ArchivePolicy.RESTORE
    road.rule.save()
    server.objects[KEY] = StoredObject(b"cold", archive="DEEP_ARCHIVE_ACCESS")
    job = look_at(road, KEY)
    assert (job.state, job.error_code) == (JobState.PENDING, ErrorCode.SOURCE_RESTORING)
    assert "requested a restore for good" in job.error_detail
    server.end_restores()
    TransferJob.objects.filter(pk=job.pk).update(available_at=job.enqueued_at)
    assert look_at(road, KEY).outcome == Outcome.COPIED
    assert road.replica(KEY) == b"cold"


def test_only_a_bucket_of_s3_can_make_the_requester_pay(road: Road) -> None:
    with pytest.raises(Exception, match="1 mistakes") as raised:
        apply_rules(
            "sources: [{name: web, kind: http, endpoint_url: 'https://www.example.com', "
            "requester_pays: true}]"
        )
    assert "Only a bucket of S3 can make" in str(raised.value.mistakes[0])  # type: ignore[attr-defined]
