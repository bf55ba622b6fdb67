"""Each condition opens once and closes once, in agreement with the status page."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from replication.errors import ErrorCode, ReplicationError
from replication.jobs import circuits, delete_brake
from replication.models import (
    ActorKind,
    Canary,
    Circuit,
    Condition,
    ConditionKind,
    DeadLetter,
    EventQueue,
    Heartbeat,
    JobState,
    LambdaContact,
    LoopKind,
    NotificationTarget,
    ReplicationRule,
    TransferJob,
)
from replication.monitoring.notifications import state
from replication.monitoring.notifications.evaluation import evaluate
from replication.monitoring.notifications.rendering import compose
from replication.operations import actions
from replication.operations.audit import Actor
from tests.monitoring.notifications.conftest import a_living_loop, a_queue
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db


def news(target: NotificationTarget) -> list[str]:
    """Evaluate the target once and mark its news as told; return the title of each."""
    target.refresh_from_db()
    snapshot = evaluate(target)
    items = state.update(target, snapshot)
    state.mark_told(items, at=snapshot.at)
    return [compose([item], snapshot.numbers).title.removeprefix("s3sync: ") for item in items]


def body(target: NotificationTarget) -> str:
    """The body of the message that the target would be sent now."""
    snapshot = evaluate(target)
    return compose(state.update(target, snapshot), snapshot.numbers).body


def let_pass(length: timedelta) -> None:
    """Move the times of all conditions and dead letters into the past by `length`."""
    Condition.objects.update(
        began_at=F("began_at") - length,
        last_told_at=F("last_told_at") - length,
        told_at=F("told_at") - length,
    )
    DeadLetter.objects.update(received_at=F("received_at") - length)


A_MOMENT = timedelta(minutes=10)


def a_letter(queue: EventQueue, number: int = 1) -> DeadLetter:
    return DeadLetter.objects.create(
        queue=queue, message_id=str(number), body="?", reason="not JSON", received_at=Now()
    )


def park(rule: ReplicationRule) -> None:
    error = ReplicationError(ErrorCode.DESTINATION_ACCESS_DENIED, "no right to write")
    for number in range(circuits.OPEN_AFTER_KEYS):
        circuits.note_error(rule, f"{number}", error)


def rules(name: str = "photos"):
    return ReplicationRule.objects.filter(name=name)


def fail_ten() -> None:
    rule = a_rule()
    for number in range(10):
        a_job(rule, f"{number}.jpg", state=JobState.FAILED)


def fail_no_more() -> None:
    TransferJob.objects.update(finalized_at=Now() - timedelta(minutes=6))


def fall_behind() -> None:
    a_job(a_rule(), event_at="2026-01-01T00:00Z")


def catch_up() -> None:
    TransferJob.objects.all().delete()


def silence_queue() -> None:
    a_queue()
    EventQueue.objects.update(last_message_at=Now() - timedelta(hours=25))


def silence_a_canary() -> None:
    Canary.objects.create(
        rule=a_rule(canary=True),
        key=".s3sync-canary",
        tried_at=Now(),
        put_at=Now(),
        queue_heard_at=Now() - timedelta(minutes=16),
        queue_unheard_since=Now() - timedelta(minutes=11),
    )


def fail_with_a_wrong_secret() -> None:
    rule = a_rule()
    Heartbeat.objects.update(host=settings.S3SYNC.host_name)
    error = ReplicationError(ErrorCode.DESTINATION_CREDENTIALS, "403 SignatureDoesNotMatch")
    for number in range(circuits.OPEN_AFTER_KEYS):
        circuits.note_error(rule, f"{number}", error)


STORIES: dict[str, tuple[Callable[[], object], str, Callable[[], object], str]] = {
    ConditionKind.FAILURES: (
        fail_ten,
        "jobs of rule photos fail",
        fail_no_more,
        "jobs of rule photos no longer fail",
    ),
    ConditionKind.LAG: (
        fall_behind,
        "rule photos is behind",
        catch_up,
        "rule photos has caught up",
    ),
    ConditionKind.PARKED: (
        lambda: park(a_rule()),
        "rule photos is parked",
        lambda: circuits.resume(rules()),
        "rule photos is no longer parked",
    ),
    ConditionKind.BRAKED: (
        lambda: a_rule(max_deletes_per_hour=1, braked_at="2026-01-01T00:00Z"),
        "rule photos stopped deleting",
        lambda: delete_brake.end(ReplicationRule.objects.get().pk),
        "rule photos deletes again",
    ),
    ConditionKind.DEAD_LETTERS: (
        lambda: a_letter(a_queue()),
        "queue events has new dead letters",
        lambda: actions.delete(DeadLetter.objects.all(), by=Actor(ActorKind.USER, "x")),
        "queue events has no new dead letters left",
    ),
    ConditionKind.QUEUE: (
        lambda: a_queue(last_error="AccessDenied", last_error_at=Now()),
        "queue events can't be polled",
        lambda: EventQueue.objects.update(last_error=""),
        "queue events is polled again",
    ),
    ConditionKind.NO_EVENTS: (
        silence_queue,
        "no event from queue events for a long time",
        lambda: EventQueue.objects.update(last_message_at=Now()),
        "events arrive from queue events again",
    ),
    ConditionKind.CANARY: (
        silence_a_canary,
        "the canary of rule photos fails",
        lambda: Canary.objects.update(queue_heard_at=Now(), queue_unheard_since=None),
        "the canary of rule photos works again",
    ),
    ConditionKind.CREDENTIALS: (
        fail_with_a_wrong_secret,
        "a host's credentials don't work",
        lambda: circuits.note_success(Circuit.objects.all()),
        "the credentials of all hosts work again",
    ),
    ConditionKind.NOT_RUNNING: (
        lambda: Heartbeat.objects.filter(kind=LoopKind.LANE).delete(),
        "no lane or no poller is alive",
        lambda: a_living_loop(LoopKind.LANE),
        "lanes and pollers are alive again",
    ),
}


@pytest.mark.parametrize("kind", ConditionKind)
def test_a_condition_is_told_once_when_it_opens_and_once_when_it_is_over(
    target: NotificationTarget, kind: ConditionKind
) -> None:
    happen, opened, end, over = STORIES[kind]
    target.kinds = [kind]
    target.save()
    assert news(target) == []
    happen()
    first = news(target)  # some kinds must last before they are told
    let_pass(A_MOMENT)
    assert first + news(target) == [opened]
    let_pass(A_MOMENT)
    assert news(target) == []
    end()
    assert news(target) == [over]
    assert news(target) == []


def test_a_canary_without_a_poller_is_not_told_as_working_again(target: NotificationTarget) -> None:
    target.kinds = [ConditionKind.CANARY]
    target.save()
    a_queue()
    silence_a_canary()
    assert news(target) == []
    let_pass(A_MOMENT)
    assert news(target) == ["the canary of rule photos fails"]
    Heartbeat.objects.filter(kind=LoopKind.POLLER).delete()
    assert news(target) == []
    a_living_loop(LoopKind.POLLER)
    assert news(target) == []


def test_a_condition_that_does_not_last_is_not_told(target: NotificationTarget) -> None:
    lane = Heartbeat.objects.get(kind=LoopKind.LANE)
    lane.delete()
    fall_behind()
    assert news(target) == []
    a_living_loop(LoopKind.LANE)
    catch_up()
    assert news(target) == []
    assert not Condition.objects.exists()


def test_the_end_of_a_lag_says_how_long_it_lasted_and_its_worst(
    target: NotificationTarget,
) -> None:
    rule = a_rule()
    job = a_job(rule)
    jobs = TransferJob.objects.filter(pk=job.pk)
    for behind in (timedelta(minutes=20), timedelta(minutes=90.5), timedelta(minutes=30)):
        jobs.update(event_at=Now() - behind)
        news(target)
        let_pass(A_MOMENT)
    jobs.update(event_at=Now() - timedelta(seconds=460))  # more than half of the threshold
    assert news(target) == []
    jobs.update(event_at=Now())
    text = body(target)
    assert "Rule photos has caught up. It was behind for 30 min, by 1 h 30 min at worst." in text


def test_a_paused_rule_has_not_caught_up(target: NotificationTarget) -> None:
    fall_behind()
    news(target)
    let_pass(A_MOMENT)
    assert news(target) == ["rule photos is behind"]
    rules().update(paused_at=Now())
    let_pass(timedelta(days=1))
    assert news(target) == []
    rules().update(paused_at=None)
    assert news(target) == ["still: rule photos is behind"]


def test_500_failures_are_one_message_with_causes_keys_and_a_fix(
    target: NotificationTarget, limits: Callable[..., None]
) -> None:
    limits(public_url="https://s3sync.example.com")
    rule = a_rule()
    first = a_job(rule, "<!channel> @all.jpg", state=JobState.FAILED)
    copies = [
        TransferJob(
            **{
                field.attname: getattr(first, field.attname)
                for field in TransferJob._meta.concrete_fields
                if field.attname not in {"id", "key", "error_code"}
            },
            key=f"{number:03}.jpg",
            error_code=ErrorCode.SOURCE_KMS if number % 5 else ErrorCode.KEY_INCOMPATIBLE,
        )
        for number in range(499)
    ]
    TransferJob.objects.bulk_create(copies)
    TransferJob.objects.filter(pk=first.pk).update(finalized_at=Now() - timedelta(seconds=9))
    text = body(target)
    assert "Rule photos: 500 jobs failed within 5 min." in text
    assert "399 × source_kms: " in text
    assert "100 × key_incompatible: " in text
    assert "First: ‹!channel› ＠all.jpg, " in text
    page = f"https://s3sync.example.com/admin/replication/failedjob/?rule__id__exact={rule.pk}"
    assert page in text
    assert news(target) == ["jobs of rule photos fail"]
    a_job(rule, "another.jpg", state=JobState.FAILED)
    assert news(target) == []


def test_fewer_failures_than_the_threshold_are_not_told(target: NotificationTarget) -> None:
    fail_ten()
    TransferJob.objects.filter(key="0.jpg").update(finalized_at=Now() - timedelta(minutes=6))
    assert news(target) == []


def test_a_condition_that_lasts_is_told_again_after_hours(target: NotificationTarget) -> None:
    park(a_rule())
    assert news(target) == ["rule photos is parked"]
    let_pass(timedelta(hours=5))
    assert news(target) == []
    let_pass(timedelta(hours=1))
    assert news(target) == ["still: rule photos is parked"]
    assert news(target) == []
    NotificationTarget.objects.update(remind_hours=0)
    let_pass(timedelta(days=9))
    assert news(target) == []


def test_more_dead_letters_are_told_once_an_hour(target: NotificationTarget) -> None:
    queue = a_queue()
    a_letter(queue, 1)
    assert news(target) == ["queue events has new dead letters"]
    a_letter(queue, 2)
    assert news(target) == []
    let_pass(timedelta(hours=1))
    assert news(target) == ["still: queue events has new dead letters"]
    let_pass(timedelta(hours=1))
    assert news(target) == [], "no further dead letter came"


def test_a_target_is_told_only_of_its_own_rules(target: NotificationTarget) -> None:
    photos, scans = a_rule("photos"), a_rule("scans")
    target.rules.add(scans)
    park(photos)
    park(scans)
    assert news(target) == ["rule scans is parked"]


def test_the_end_of_a_condition_that_is_no_longer_watched_is_not_told(
    target: NotificationTarget,
) -> None:
    park(a_rule("photos"))
    park(a_rule("scans"))
    assert len(news(target)) == 2
    target.rules.add(rules("scans").get())
    assert news(target) == []
    assert Condition.objects.get(rule="photos").closing == state.NO_LONGER_WATCHED
    NotificationTarget.objects.update(enabled=False)
    state.close_disabled(at=Condition.objects.latest("pk").began_at)
    assert not Condition.objects.filter(closed_at=None).exists()


def test_pausing_a_parked_rule_does_not_end_the_condition(target: NotificationTarget) -> None:
    park(a_rule())
    assert news(target) == ["rule photos is parked"]
    rules().update(paused_at=Now())
    assert news(target) == []


def test_without_a_poller_a_failing_queue_is_not_reported_as_polled_again(
    target: NotificationTarget,
) -> None:
    target.kinds = [ConditionKind.QUEUE]
    target.save()
    a_queue(last_polled_at=Now() - timedelta(minutes=5))
    news(target)
    let_pass(A_MOMENT)
    assert news(target) == ["queue events can't be polled"]
    Heartbeat.objects.filter(kind=LoopKind.POLLER).delete()
    assert news(target) == []
    a_living_loop(LoopKind.POLLER)
    assert news(target) == []


def test_a_queue_that_never_had_an_event_counts_since_it_was_first_seen(
    target: NotificationTarget,
) -> None:
    target.kinds = [ConditionKind.NO_EVENTS]
    target.save()
    a_queue(last_message_at=None)
    assert news(target) == []
    let_pass(timedelta(hours=24))
    assert news(target) == ["no event from queue events for a long time"]


def test_a_silent_lambda_function_is_reported_only_after_its_first_event(
    target: NotificationTarget,
) -> None:
    target.kinds = [ConditionKind.NO_EVENTS]
    target.save()
    assert news(target) == []
    LambdaContact.objects.create(heard_at="2026-01-01T00:00Z")
    assert news(target) == ["no event from the Lambda function for a long time"]
    LambdaContact.objects.update(heard_at=Now())
    assert news(target) == ["events arrive from the Lambda function again"]


def test_a_message_keeps_its_size_limit_however_much_there_is_to_say(
    target: NotificationTarget, limits: Callable[..., None]
) -> None:
    limits(public_url="https://s3sync.example.com")
    for number in range(40):
        park(a_rule(f"rule-{number:02}"))
    snapshot = evaluate(target)
    message = compose(state.update(target, snapshot), snapshot.numbers)
    assert message.title == "s3sync: 40 wrong"
    assert len(message.body.encode()) <= 1_850
    assert "more: see the status page for what is wrong now." in message.body
    assert message.body.endswith("Status: https://s3sync.example.com/status/")
    [item] = state.update(target, snapshot)[:1]
    item.condition.detail = "原因" * 1000
    assert len(compose([item], snapshot.numbers).body.encode()) <= 1_850


def test_every_kind_has_a_story() -> None:
    assert set(STORIES) == set(ConditionKind)
