"""Which parts of large objects lanes claim, beside other lanes."""

from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from replication.jobs import uploads
from replication.mapping.parts import MIN_PART_BYTES
from replication.models import JobState, MultipartUpload, UploadPart
from replication.stores.base import PartReceipt
from replication.transfer.results import CarriedPart, ClaimedPart
from tests.support.examples import a_job, a_rule
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

LANES = 4


def make_uploads(count: int, *, parts: int) -> list[MultipartUpload]:
    """So many uploads of running jobs, none of whose parts is carried."""
    rule = a_rule()
    made = []
    for number in range(count):
        job = a_job(rule, f"{number}", state=JobState.RUNNING)
        upload = MultipartUpload.objects.create(
            rule=rule,
            key=job.key,
            destination=rule.destination,
            **MultipartUpload.location_of(rule.destination),
            destination_key=job.key,
            upload_id=f"upload-{number}",
            attributes_hash="",
            began_at=Now(),
            size_bytes=parts * MIN_PART_BYTES,
            part_size_bytes=MIN_PART_BYTES,
            source_etag="etag",
        )
        UploadPart.objects.bulk_create(
            UploadPart(upload=upload, number=part, available_at=job.available_at)
            for part in range(1, parts + 1)
        )
        made.append(upload)
    return made


def claim(limit: int) -> list[ClaimedPart]:
    return uploads.claim_parts(uuid4(), limit=limit, lease_seconds=60)


def places(parts: list[ClaimedPart]) -> list[tuple[int, int]]:
    return sorted((part.upload_pk, part.number) for part in parts)


def test_the_oldest_uploads_parts_go_first() -> None:
    old, young = make_uploads(2, parts=3)
    assert places(claim(2)) == [(old.pk, 1), (old.pk, 2)]
    assert places(claim(9)) == [(old.pk, 3), (young.pk, 1), (young.pk, 2), (young.pk, 3)]
    assert claim(9) == []


def test_no_claim_of_parts_is_empty_while_parts_are_free_and_none_is_claimed_twice() -> None:
    make_uploads(30, parts=4)

    def work() -> list[ClaimedPart]:
        claimed = []
        for _ in range(7):
            got = claim(4)
            assert got
            claimed += got
        return claimed

    claimed = [part for of_lane in at_once(*[work] * LANES) for part in of_lane]
    assert len({part.id for part in claimed}) == len(claimed)


def test_a_claim_of_parts_passes_over_those_that_are_locked() -> None:
    [upload] = make_uploads(1, parts=6)
    with transaction.atomic():
        assert len(UploadPart.objects.select_for_update().filter(number__lte=4)) == 4
        [claimed] = at_once(lambda: claim(9))
    assert places(claimed) == [(upload.pk, 5), (upload.pk, 6)]


def test_a_claim_locks_only_the_parts_that_it_takes() -> None:
    make_uploads(20, parts=5)
    with transaction.atomic():
        assert len(claim(3)) == 3
        free = UploadPart.objects.select_for_update(skip_locked=True)
        [left] = at_once(lambda: _count(free))
    assert left == 20 * 5 - 3


def _count(parts: QuerySet[UploadPart]) -> int:
    with transaction.atomic():
        return len(parts)


def test_lanes_are_told_of_the_last_parts_of_an_upload_alone() -> None:
    """Only its leader waits for them; all lanes hear it."""
    few = uploads.LAST_PARTS
    _, small = make_uploads(2, parts=3 * few)

    def are_told_of(settled: list[ClaimedPart]) -> bool:
        with CaptureQueriesContext(connection) as queries:
            uploads.settle([(part, carried(part)) for part in settled])
        return any("pg_notify" in query["sql"] for query in queries)

    assert not are_told_of(claim(2 * few))
    assert are_told_of(claim(1))
    assert are_told_of(claim(few - 1))
    assert not are_told_of(claim(2 * few))
    assert are_told_of(claim(few))
    assert uploads.progress([small.pk])[small.pk].missing == 0


def carried(part: ClaimedPart) -> CarriedPart:
    return CarriedPart(PartReceipt(part.number, f"{part.number}", "7", MIN_PART_BYTES), 0)
