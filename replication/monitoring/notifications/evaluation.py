"""Evaluates what a target is notified of, with the numbers and texts of the status page."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.db import connection
from django.db.models.functions import Now

from replication.errors import MEANINGS, ErrorCode
from replication.models import (
    CircuitScope,
    Condition,
    ConditionKind,
    DeadLetter,
    JobState,
    NotificationTarget,
    TransferJob,
)
from replication.monitoring.status import (
    Numbers,
    QueueStatus,
    RuleNumbers,
    find_problems,
    read_numbers,
)
from replication.monitoring.status.problems import circuit_problems, how_far_behind
from replication.monitoring.status.wording import ago, count, in_words

# A problem must last this long before people are notified: restarting a cluster is normal. The
# alerts of deploy/prometheus wait as long.
NOT_RUNNING_FOR = timedelta(minutes=2)
QUEUE_FAILING_FOR = timedelta(minutes=3)
CANARY_SILENT_FOR = timedelta(minutes=2)  # a poller that was just started has a backlog to take

_SHOWN_KEYS = 3
_KEY_LENGTH = 60  # longer keys are cut at the front: the end has the file's name
_SHOWN_CODES = 4


class Evaluation(Enum):
    WRONG = "wrong"
    FINE = "fine"
    UNSURE = "unsure"  # in between, or hidden by another problem: a confirmed condition stays open


@dataclass(frozen=True)
class Observation:
    """The evaluation of one kind for one rule, one queue or the service, at one moment.

    `detail` is the text for WRONG, `closing` the text for a condition that ends.
    """

    kind: ConditionKind
    evaluation: Evaluation
    rule: str = ""
    queue: str = ""
    detail: str = ""
    closing: str = ""
    # When it began; None if unknown, then it counts from now.
    since: datetime | None = None
    must_last: timedelta = timedelta()
    lag_seconds: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """Every observation of the kinds a target chose, wrong or not; `at` is database time."""

    at: datetime
    numbers: Numbers
    observations: list[Observation]


def evaluate(target: NotificationTarget) -> Snapshot:
    """Read the numbers, and compare them with the target's thresholds."""
    numbers = read_numbers()
    wanted = [
        observation for observation in _observe(target, numbers) if observation.kind in target.kinds
    ]
    return Snapshot(numbers.generated_at, numbers, wanted)


def _observe(target: NotificationTarget, numbers: Numbers) -> Iterator[Observation]:
    texts = {(each.code, each.rule, each.queue): each.detail for each in find_problems(numbers)}
    rules = numbers.rules
    if chosen := set(target.rules.values_list("name", flat=True)):
        rules = [rule for rule in rules if rule.name in chosen]
    yield _liveness(texts)
    yield _credentials(numbers)
    for queue in numbers.queues:
        if queue.enabled:
            yield _queue(queue, numbers, texts)
            yield _no_events(target, f"Queue {queue.name}", queue.last_message_at, numbers, queue)
        yield _dead_letters(queue, texts)
    if numbers.lambda_heard_at is not None:
        yield _no_events(target, "The Lambda function", numbers.lambda_heard_at, numbers)
    for rule in rules:
        yield _parked(rule, texts)
        yield _braked(rule, texts)
        yield _lag(target, rule)
        yield _canary(rule, numbers, texts)
    if ConditionKind.FAILURES in target.kinds:
        yield from _failures(target, rules)


# The details of the current problems by (code, rule, queue).
_ProblemTexts = dict[tuple[str, str, str], str]


# -- the service and its queues ------------------------------------------------------------------


def _liveness(texts: _ProblemTexts) -> Observation:
    details = [texts[key] for key in (("no_lane", "", ""), ("no_poller", "", "")) if key in texts]
    return Observation(
        ConditionKind.NOT_RUNNING,
        Evaluation.WRONG if details else Evaluation.FINE,
        detail=" ".join(details),
        closing="Lanes and pollers are alive again.",
        must_last=NOT_RUNNING_FOR,
    )


def _credentials(numbers: Numbers) -> Observation:
    """Open circuits of credential profiles; a rule that waits behind any other one is parked."""
    circuits = [one for one in numbers.open_circuits if one.scope == CircuitScope.PROFILE]
    details = [problem.detail for one in circuits for problem in circuit_problems(one, numbers)]
    return Observation(
        ConditionKind.CREDENTIALS,
        Evaluation.WRONG if details else Evaluation.FINE,
        detail=" ".join(details),
        closing="The credentials of all hosts work again.",
        since=min((one.opened_at for one in circuits if one.opened_at), default=None),
    )


def _queue(queue: QueueStatus, numbers: Numbers, texts: _ProblemTexts) -> Observation:
    details = [
        texts[key]
        for key in (("queue_error", "", queue.name), ("queue_silent", "", queue.name))
        if key in texts
    ]
    # Without a poller, the state of a queue is unknown. NOT_RUNNING reports the missing poller.
    fine = Evaluation.FINE if numbers.pollers_alive else Evaluation.UNSURE
    return Observation(
        ConditionKind.QUEUE,
        Evaluation.WRONG if details else fine,
        queue=queue.name,
        detail=" ".join(details),
        closing=f"Queue {queue.name} is polled again.",
        must_last=QUEUE_FAILING_FOR,
    )


def _no_events(
    target: NotificationTarget,
    origin: str,
    heard_at: datetime | None,
    numbers: Numbers,
    queue: QueueStatus | None = None,
) -> Observation:
    """Whether no event came from `origin` for too long; if none ever came, since the first look."""
    now, longest = numbers.generated_at, timedelta(hours=target.silence_hours)
    is_silent = heard_at is None or now - heard_at > longest
    last = f"the last came {ago(heard_at, now)}" if heard_at else "none ever came"
    return Observation(
        ConditionKind.NO_EVENTS,
        Evaluation.WRONG if is_silent else Evaluation.FINE,
        queue=queue.name if queue else "",
        detail=f"{origin}: no event for a long time; {last}. If objects do change, their events "
        "are lost: run `manage.py doctor`.",
        closing=f"{origin}: events arrive again.",
        since=heard_at,
        must_last=longest,
    )


def _dead_letters(queue: QueueStatus, texts: _ProblemTexts) -> Observation:
    detail = texts.get(("dead_letters", "", queue.name), "")
    return Observation(
        ConditionKind.DEAD_LETTERS,
        Evaluation.WRONG if detail else Evaluation.FINE,
        queue=queue.name,
        detail=f"{detail} Replay them after an upgrade or once the missing rule exists; delete "
        "those of no use.",
        closing=f"Queue {queue.name}: no dead letter of the last 7 days is left.",
    )


def count_new_letters(condition: Condition) -> int:
    """Count the dead letters of the condition's queue that came since it was last told."""
    return DeadLetter.objects.filter(
        queue__name=condition.queue, received_at__gt=condition.last_told_at
    ).count()


# -- rules -----------------------------------------------------------------------------------------


def _parked(rule: RuleNumbers, texts: _ProblemTexts) -> Observation:
    detail = texts.get(("rule_parked", rule.name, ""), "")
    if rule.parked_at is None:
        evaluation = Evaluation.FINE
    else:  # for a rule that is also paused, the status reports only the pause
        evaluation = Evaluation.WRONG if detail else Evaluation.UNSURE
    return Observation(
        ConditionKind.PARKED,
        evaluation,
        rule=rule.name,
        detail=detail,
        closing=f"Rule {rule.name} is no longer parked, with "
        f"{count(rule.jobs.pending, 'job')} waiting.",
        since=rule.parked_at,
    )


def _braked(rule: RuleNumbers, texts: _ProblemTexts) -> Observation:
    return Observation(
        ConditionKind.BRAKED,
        Evaluation.WRONG if rule.braked_at else Evaluation.FINE,
        rule=rule.name,
        detail=texts.get(("deletes_braked", rule.name, ""), ""),
        closing=f"Rule {rule.name} deletes again: its waiting deletes were confirmed.",
        since=rule.braked_at,
    )


def _lag(target: NotificationTarget, rule: RuleNumbers) -> Observation:
    """A rule has caught up below half of the threshold, so a lag around it is reported once."""
    lag = rule.jobs.oldest_pending_seconds or 0.0
    if rule.paused_at or rule.parked_at or not rule.enabled:
        evaluation = Evaluation.UNSURE
    elif lag > target.lag_seconds:
        evaluation = Evaluation.WRONG
    else:
        evaluation = Evaluation.UNSURE if lag > target.lag_seconds / 2 else Evaluation.FINE
    return Observation(
        ConditionKind.LAG,
        evaluation,
        rule=rule.name,
        detail=f"{how_far_behind(rule)} Either there is more work than the lanes can do, or jobs "
        "are tried again and again: check Failures and the load of the hosts.",
        closing=f"Rule {rule.name} has caught up.",
        must_last=timedelta(minutes=target.lag_minutes),
        lag_seconds=lag,
    )


def _canary(rule: RuleNumbers, numbers: Numbers, texts: _ProblemTexts) -> Observation:
    details = [
        texts[key]
        for key in (("canary_failed", rule.name, ""), ("canary_silent", rule.name, ""))
        if key in texts
    ]
    # Without a poller no event can come, and NOT_RUNNING reports the missing poller.
    is_unsure = numbers.queues and not numbers.pollers_alive
    fine = Evaluation.UNSURE if is_unsure else Evaluation.FINE
    return Observation(
        ConditionKind.CANARY,
        Evaluation.WRONG if details else fine,
        rule=rule.name,
        detail=" ".join(details),
        closing=f"Rule {rule.name}: events of its canary arrive, or it has none any more.",
        must_last=CANARY_SILENT_FOR,
    )


def lag_summary(condition: Condition, *, at: datetime) -> str:
    """Describe a lag that is over: how long it lasted, and the worst of it."""
    lasted = in_words((at - condition.began_at).total_seconds())
    worst = in_words(condition.worst_lag_seconds or 0)
    return f"It was behind for {lasted}, by {worst} at worst."


@dataclass(frozen=True)
class _Failed:
    """The failed jobs of one rule within the target's minutes."""

    by_code: dict[str, int]
    first_at: datetime

    @property
    def jobs(self) -> int:
        return sum(self.by_code.values())


def _failures(target: NotificationTarget, rules: Iterable[RuleNumbers]) -> Iterator[Observation]:
    """The condition is over when no job has failed for `failures_minutes`."""
    failed = _failed_by_rule(minutes=target.failures_minutes)
    within = f"within {target.failures_minutes} min"
    for rule in rules:
        of_rule = failed.get(rule.id)
        if of_rule is None:
            yield Observation(
                ConditionKind.FAILURES,
                Evaluation.FINE,
                rule=rule.name,
                closing=f"Rule {rule.name}: no job has failed in the last "
                f"{target.failures_minutes} min. Left to retry under Failures: "
                f"{count(rule.jobs.failed, 'failed job')}.",
            )
        elif of_rule.jobs >= target.failures_at_least:
            yield Observation(
                ConditionKind.FAILURES,
                Evaluation.WRONG,
                rule=rule.name,
                detail=f"Rule {rule.name}: {count(of_rule.jobs, 'job')} failed {within}. "
                f"First: {', '.join(_first_keys(rule, of_rule.first_at))}. Fix the cause, select "
                f"the jobs under Failures, and retry them. {_causes(of_rule)}",
                since=of_rule.first_at,
            )
        else:
            yield Observation(ConditionKind.FAILURES, Evaluation.UNSURE, rule=rule.name)


def _failed_by_rule(*, minutes: int) -> dict[int, _Failed]:
    """Read only the newest failures, however long the history is."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT rule_id, error_code, count(*), min(finalized_at)
            FROM replication_transferjob
            WHERE state = 'failed' AND finalized_at > now() - make_interval(mins => %s)
            GROUP BY rule_id, error_code ORDER BY count(*) DESC, error_code
            """,
            [minutes],
        )
        rows = cursor.fetchall()
    found: dict[int, _Failed] = {}
    for rule_id, code, jobs, first_at in rows:
        sofar = found.get(rule_id, _Failed({}, first_at))
        found[rule_id] = _Failed(sofar.by_code | {code: jobs}, min(sofar.first_at, first_at))
    return found


def _causes(failed: _Failed) -> str:
    """The most frequent codes, each with its number of jobs and its cause."""
    shown = list(failed.by_code.items())[:_SHOWN_CODES]
    causes = [f"{jobs:,} × {code}: {MEANINGS[ErrorCode(code)].cause}" for code, jobs in shown]
    if others := failed.jobs - sum(jobs for _, jobs in shown):
        causes.append(f"{others:,} × other causes.")
    return " ".join(causes)


def _first_keys(rule: RuleNumbers, first_at: datetime) -> list[str]:
    first = TransferJob.objects.filter(
        rule=rule.id, state=JobState.FAILED, finalized_at__gte=first_at, finalized_at__lte=Now()
    )
    keys = first.order_by("finalized_at").values_list("key", flat=True)[:_SHOWN_KEYS]
    return [key if len(key) <= _KEY_LENGTH else f"…{key[1 - _KEY_LENGTH :]}" for key in keys]
