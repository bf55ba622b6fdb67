"""What the bucket takes is learned by the first object that needs it, and kept."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db.models.functions import Now

from replication.errors import ErrorCode
from replication.models import (
    Destination,
    Job,
    JobState,
    Outcome,
    Takes,
    TransferJob,
)
from replication.sweep.verify import Comparison, verify
from sandbox.oss import Denial, Fault
from tests.support.road import Road, work
from tests.support.sqs import put_event, send

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = "例 é".encode().decode("latin-1")  # one character for each byte
TAGS = {"城市": "北京"}


def put(road: Road, key: str, *, metadata: str = "", tags: dict[str, str] | None = None) -> None:
    """Put an object; the metadata's bytes are sent as they are, which boto3 alone refuses to do."""
    s3 = road.s3

    def add_metadata(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-amz-meta-place"] = metadata

    if metadata:
        s3.meta.events.register("before-call.s3.PutObject", add_metadata)
    tagging = {"Tagging": urlencode(tags)} if tags else {}
    s3.put_object(Bucket=road.source.bucket, Key=key, Body=b"content", **tagging)
    if metadata:
        s3.meta.events.unregister("before-call.s3.PutObject", add_metadata)


def place_of(road: Road, key: str) -> str:
    value: str = road.replicas.head_object(key).headers["x-oss-meta-place"]
    return value


def tags_of(road: Road, key: str) -> dict[str, str]:
    return dict(road.replicas.get_object_tagging(key).tag_set.tagging_rule)


def probes(road: Road) -> int:
    """How many objects of s3sync's own were written to ask the bucket."""
    puts = road.oss.requests(operation="PutObject")
    return len({entry.key for entry in puts if ".s3sync-key/probe/" in entry.key})


def learned(road: Road) -> tuple[str, str, bool]:
    row = Destination.objects.get()
    return row.takes_non_ascii_metadata, row.takes_non_ascii_tags, row.learned_at is not None


def codes() -> set[str]:
    return set(Job.objects.values_list("error_code", flat=True))


def test_a_bucket_that_takes_more_is_asked_once_and_gets_all(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(metadata_policy="rewrite", tag_policy="drop", destination_prefix="to/")
    road.oss.set_lenient(True)
    keys = [f"{number}.txt" for number in range(20)]
    for key in keys:
        put(road, key, metadata=VALUE, tags=TAGS)
    work()
    assert {place_of(road, f"to/{key}") for key in keys} == {VALUE}
    assert all(tags_of(road, f"to/{key}") == TAGS for key in keys)
    assert not Job.objects.exclude(remarks="").exists()
    assert probes(road) == 1
    assert learned(road) == (Takes.YES, Takes.YES, True)
    assert set(road.oss.store.bucket("replica").objects) == {f"to/{key}" for key in keys}
    road.rule.refresh_from_db()
    road.rule.destination.refresh_from_db()
    assert {one.verdict for one in verify(road.rule, keys, threads=2)} == {Comparison.EQUAL}
    put(road, "later.txt", metadata=VALUE)
    work()
    assert (place_of(road, "to/later.txt"), probes(road)) == (VALUE, 1)


def test_the_policies_hold_for_a_bucket_that_takes_what_is_documented(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(metadata_policy="rewrite", tag_policy="drop")
    put(road, "a.txt", metadata=VALUE, tags=TAGS)
    work()
    assert road.replicas.head_object("a.txt").headers["x-oss-meta-s3sync-meta-place"]
    assert tags_of(road, "a.txt") == {}
    assert (probes(road), learned(road)) == (1, (Takes.NO, Takes.NO, True))


def test_a_plain_object_asks_nothing(road: Road) -> None:
    put(road, "a.txt", metadata="plain", tags={"a": "b"})
    work()
    assert (probes(road), learned(road)) == (0, (Takes.UNKNOWN, Takes.UNKNOWN, False))


def test_tags_that_are_set_later_ask_the_bucket_too(road: Road) -> None:
    road.oss.set_lenient(True)
    put(road, "a.txt")
    work()
    tag_set = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    road.s3.put_object_tagging(Bucket=road.source.bucket, Key="a.txt", Tagging={"TagSet": tag_set})
    send(road, put_event(road.source.bucket, "a.txt", "ObjectTagging:Put"))
    work()
    assert (tags_of(road, "a.txt"), probes(road)) == (TAGS, 1)
    assert Job.objects.filter(outcome=Outcome.UNCHANGED).count() == 1


def test_what_can_not_be_found_out_counts_as_refused_and_stays_unknown(road: Road) -> None:
    road.oss.set_lenient(True)
    road.oss.deny(Denial(actions=("oss:GetObject",)))
    put(road, "a.txt", metadata=VALUE)
    work()
    assert codes() == {ErrorCode.METADATA_INCOMPATIBLE}
    assert learned(road) == (Takes.UNKNOWN, Takes.UNKNOWN, False)


def test_a_bucket_that_does_not_answer_costs_a_try(road: Road) -> None:
    road.oss.set_lenient(True)
    road.oss.add_fault(Fault(operation="PutObject", key_pattern="probe/", status=503))
    put(road, "a.txt", metadata=VALUE)
    work()
    # Unless the next try was due at once.
    TransferJob.objects.filter(state=JobState.PENDING).update(available_at=Now())
    work()
    assert [attempt.code for attempt in Job.objects.get().tries] == [
        ErrorCode.DESTINATION_UNAVAILABLE
    ]
    assert place_of(road, "a.txt") == VALUE


def test_a_change_of_the_bucket_forgets_the_answer_and_a_change_of_limits_does_not(
    road: Road,
) -> None:
    road.destination.record_capabilities(non_ascii_metadata=Takes.YES, non_ascii_tags=Takes.NO)
    Destination.objects.update(max_requests_per_second=9)
    assert learned(road) == (Takes.YES, Takes.NO, True)
    Destination.objects.update(bucket="another-bucket")
    assert learned(road) == (Takes.UNKNOWN, Takes.UNKNOWN, False)
    # An answer of the bucket that it had before is no answer of this one.
    road.destination.record_capabilities(non_ascii_metadata=Takes.YES, non_ascii_tags=Takes.YES)
    assert learned(road) == (Takes.UNKNOWN, Takes.UNKNOWN, False)


def test_an_answer_leaves_what_another_one_has_told(road: Road) -> None:
    road.destination.record_capabilities(non_ascii_metadata=Takes.YES, non_ascii_tags=Takes.YES)
    unknown = Takes.UNKNOWN
    road.destination.record_capabilities(non_ascii_metadata=unknown, non_ascii_tags=Takes.NO)
    assert learned(road) == (Takes.YES, Takes.NO, True)


def test_what_is_learned_raises_no_version(road: Road) -> None:
    version = road.rule.version
    road.destination.record_capabilities(non_ascii_metadata=Takes.YES, non_ascii_tags=Takes.YES)
    road.rule.refresh_from_db()
    assert road.rule.version == version
