"""A canary is put at the source at intervals, and its silence is told by each route."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from django.core.exceptions import ValidationError
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ

from replication import tasks
from replication.intake import canaries
from replication.intake.matching import AnnouncedEvent, take_events, take_keys
from replication.intake.object_events import ObjectEvent
from replication.models import (
    Canary,
    Heartbeat,
    Job,
    JobOrigin,
    LoopKind,
    ReplicationRule,
    Source,
    SweepKind,
)
from replication.monitoring.metrics.families import all_families
from replication.monitoring.metrics.totals import read_totals
from replication.monitoring.status import read_numbers, read_status
from replication.sweep import lifecycle
from tests.monitoring.notifications.conftest import a_living_loop
from tests.support import sqs
from tests.support.examples import a_rule
from tests.support.policies import a_user_who_may
from tests.support.pollers import poll_until_empty
from tests.support.road import Road, work
from tests.support.sweeping import carry_on, settled
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MOMENTS = (
    *("tried_at", "put_at", "failing_since"),
    *("queue_heard_at", "queue_unheard_since", "api_heard_at", "api_unheard_since"),
)


@pytest.fixture
def road(road: Road) -> Road:
    """Its rule has a canary, and its loops are alive."""
    sqs.empty(road, visibility_timeout_seconds=30)
    ReplicationRule.objects.update(canary=True)
    road.rule.refresh_from_db()
    road.source.domains.create(domain="photos.example.com")
    a_living_loop(LoopKind.LANE)
    a_living_loop(LoopKind.POLLER)
    return road


def let_pass(**time: float) -> None:
    """Move all that is known of canaries into the past."""
    Canary.objects.update(**{name: F(name) - timedelta(**time) for name in MOMENTS})


def problems() -> dict[str, str]:
    """The problems of canaries, by code."""
    return {
        each.code: each.detail for each in read_status().problems if each.code.startswith("canary")
    }


def tell_by_queue(road: Road) -> None:
    event = ObjectEvent(road.source.bucket, road.rule.canary_key, "ObjectCreated:Put")
    take_events([AnnouncedEvent(event)], origin=JobOrigin.EVENT)


def tell_by_api(road: Road) -> None:
    take_keys([("photos.example.com", road.rule.canary_key)])


def put_unheard(*, times: int = 3) -> None:
    """Put canaries, five minutes apart, whose events are lost; and a minute more passes."""
    for number in range(times):
        assert canaries.put_due() == 1
        let_pass(minutes=5 if number < times - 1 else 1)


def silent_routes() -> list[str]:
    numbers = read_numbers()
    return [
        route.name
        for canary in numbers.canaries
        for route in canary.silent_routes(numbers.generated_at)
    ]


def test_a_canary_is_put_and_its_event_comes_back_and_it_is_copied(road: Road) -> None:
    assert canaries.put_due() == 1
    assert silent_routes() == []
    work()
    canary = Canary.objects.get()
    assert canary.queue_heard_at is not None
    assert (canary.queue_unheard_since, canary.api_heard_at) == (None, None)
    assert (road.replica(".s3sync-canary") or b"").startswith(b"A canary of s3sync")
    let_pass(minutes=30)
    assert problems() == {}


def test_a_canary_is_put_every_five_minutes_by_one_of_several_clusters(road: Road) -> None:
    assert canaries.is_due()
    assert [canaries.put_due(), canaries.put_due()] == [1, 0]
    assert not canaries.is_due()
    let_pass(minutes=4)
    assert not canaries.is_due()
    let_pass(minutes=1)
    tasks.revive()
    assert "replication.tasks.put_canaries" in [task.func() for task in OrmQ.objects.all()]
    tasks.put_canaries()
    assert not canaries.is_due()


def test_processes_that_put_canaries_at_once_put_each_once(road: Road) -> None:
    for name in ("b", "c"):
        a_rule(name, source=road.source, source_prefix=f"{name}/", canary=True)
    assert sum(at_once(*[canaries.put_due] * 4)) == 3


def test_only_an_enabled_rule_of_s3_that_asks_for_it_and_is_not_parked_has_one(road: Road) -> None:
    for fields in ({"canary": False}, {"enabled": False}, {"parked_at": Now()}):
        rules = ReplicationRule.objects.filter(pk=road.rule.pk)
        rules.update(**fields)
        assert not canaries.is_due()
        rules.update(canary=True, enabled=True, parked_at=None)
    Source.objects.update(kind="http", bucket="", region="")
    assert not canaries.is_due()


def test_a_canary_that_no_event_tells_of_is_a_problem_until_one_comes(road: Road) -> None:
    put_unheard(times=2)
    assert problems() == {}
    let_pass(minutes=4)
    put_unheard(times=1)
    detail = problems()["canary_silent"]
    assert f"s3://{road.source.bucket}/.s3sync-canary that was put 11 min ago" in detail
    assert "changes at the source are probably not noticed" in detail
    assert "No event, by a queue or by the API, has told" in detail
    assert "none ever did" in detail
    assert f"manage.py doctor --rule {road.rule.name}" in detail
    poll_until_empty(road.queue)
    assert problems() == {}


def test_each_route_that_once_delivered_is_told_apart(road: Road) -> None:
    canaries.put_due()
    tell_by_queue(road)
    tell_by_api(road)
    let_pass(minutes=5)
    put_unheard()
    assert silent_routes() == ["queue", "api"]
    tell_by_api(road)
    assert silent_routes() == ["queue"]
    detail = problems()["canary_silent"]
    assert "No event from a queue has told" in detail
    assert "the last one 16 min ago" in detail
    assert "changes are still noticed by the other" in detail
    tell_by_queue(road)
    assert problems() == {}


def test_a_route_that_never_delivered_is_not_expected(road: Road) -> None:
    for _ in range(4):
        assert canaries.put_due() == 1
        tell_by_api(road)
        let_pass(minutes=5)
    assert silent_routes() == []


def test_a_late_event_is_no_silence(road: Road) -> None:
    for _ in range(4):
        assert canaries.put_due() == 1
        let_pass(minutes=4)
        tell_by_queue(road)
        let_pass(minutes=1)
    assert silent_routes() == []


def test_an_event_that_comes_before_the_put_is_noted_counts(road: Road) -> None:
    canaries.put_due()
    let_pass(minutes=5)
    Canary.objects.update(queue_heard_at=Now() + timedelta(seconds=10))
    canaries.put_due()
    assert Canary.objects.get().queue_unheard_since is None


def test_after_a_time_without_canaries_silence_counts_anew(road: Road) -> None:
    canaries.put_due()
    tell_by_queue(road)
    let_pass(minutes=5)
    canaries.put_due()
    let_pass(hours=1)  # no cluster ran
    assert silent_routes() == []
    canaries.put_due()
    assert silent_routes() == []


def test_without_a_poller_only_the_silence_of_the_api_is_told(road: Road) -> None:
    Heartbeat.objects.filter(kind=LoopKind.POLLER).delete()
    canaries.put_due()
    tell_by_queue(road)
    tell_by_api(road)
    let_pass(minutes=5)
    put_unheard()
    assert "from a queue" not in problems()["canary_silent"]
    assert "No call of the API" in problems()["canary_silent"]


def test_a_canary_that_is_switched_off_is_forgotten_and_its_object_stays(road: Road) -> None:
    canaries.put_due()
    tell_by_queue(road)
    put = road.s3.head_object(Bucket=road.source.bucket, Key=".s3sync-canary")
    ReplicationRule.objects.update(canary=False)
    let_pass(minutes=5)
    assert canaries.is_due()
    assert canaries.put_due() == 0
    assert not Canary.objects.exists()
    found = road.s3.head_object(Bucket=road.source.bucket, Key=".s3sync-canary")
    assert found["ETag"] == put["ETag"]


def test_a_canary_that_may_not_be_put_is_a_problem_with_cause_and_fix(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = road.source.credential_profile
    profile = a_user_who_may(road.aws, ["s3:GetObject", "s3:ListBucket"], monkeypatch)
    Source.objects.update(credential_profile=profile)
    assert canaries.put_due() == 0
    detail = problems()["canary_failed"]
    assert f"Grant s3:PutObject on it to the profile {profile!r}" in detail
    assert f"s3://{road.source.bucket}/.s3sync-canary could not be put" in detail
    with pytest.raises(ClientError):
        road.s3.head_object(Bucket=road.source.bucket, Key=".s3sync-canary")
    Source.objects.update(credential_profile=own)
    let_pass(minutes=5)
    assert canaries.put_due() == 1
    assert problems() == {}


def test_a_source_that_is_away_for_a_moment_is_no_problem(road: Road) -> None:
    Source.objects.update(endpoint_url="http://127.0.0.1:9")
    assert canaries.put_due() == 0
    assert problems() == {}
    let_pass(minutes=11)
    assert canaries.put_due() == 0
    assert "could not be put since 11 min ago" in problems()["canary_failed"]


def test_the_key_of_a_canary_passes_prefix_and_suffix(road: Road) -> None:
    ReplicationRule.objects.update(source_prefix="图片/", source_suffix=".jpg")
    canaries.put_due()
    work()
    assert Canary.objects.get().queue_heard_at is not None
    assert Job.objects.get().key == "图片/.s3sync-canary.jpg"


def test_a_comparison_finds_the_canary_equal_and_no_event_lost(road: Road) -> None:
    canaries.put_due()
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE, mends=True)
    carry_on()
    work()
    assert settled(sweep).lost == 0
    again = lifecycle.start(road.rule, SweepKind.RECONCILE)
    carry_on()
    again = settled(again)
    assert (again.equal, again.different, again.missing, again.lost) == (1, 0, 0, 0)


def test_the_metrics_have_the_age_of_the_unheard_canary_by_route(road: Road) -> None:
    put_unheard()
    numbers = read_numbers()
    [family] = [
        each
        for each in all_families(numbers, [], read_totals())
        if each.name == "s3sync_canary_unheard_seconds"
    ]
    [sample] = family.samples
    assert sample.labels == {"rule": road.rule.name, "route": "any"}
    assert 660 <= sample.value < 700


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"include": "**/*.jpg"}, "add a line with this key to include"),
        ({"exclude": "**/.*"}, "remove the glob of exclude"),
        ({"source_prefix": "a/", "include": "**/*.jpg\na/.s3sync-canary"}, ""),
        ({"include": "["}, ""),  # the mistake stands at the field
    ],
)
def test_filters_that_leave_the_canary_out_are_refused(fields: dict[str, str], reason: str) -> None:
    rule = a_rule()
    for name, value in fields.items():
        setattr(rule, name, value)
    rule.clean()  # without a canary
    rule.canary = True
    if not reason:
        rule.clean()
        return
    with pytest.raises(ValidationError) as refused:
        rule.clean()
    assert reason in refused.value.message_dict["canary"][0]


def test_a_web_server_can_have_no_canary() -> None:
    source = Source.objects.create(name="w", kind="http", endpoint_url="https://www.example.com")
    rule = a_rule(source=source)
    rule.canary = True
    with pytest.raises(ValidationError, match="Only a bucket of S3 can have a canary"):
        rule.clean()
