"""The problems that need a person, in words for people and codes for machines."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from replication.errors import MEANINGS, Disposition, ErrorCode
from replication.models import Circuit, CircuitScope, Sweep, SweepState
from replication.models.collisions import Collision
from replication.monitoring.status.canaries import failure, silence
from replication.monitoring.status.numbers import Numbers, QueueStatus, RuleNumbers
from replication.monitoring.status.upkeep import MAX_STRAYS, Upkeep
from replication.monitoring.status.wording import age, ago, count, in_words

# A long poll takes at most 20 s, and a poller replaces itself in less than a minute.
SILENT_SECONDS = 120

# Far longer than a job waits in a healthy queue; also the longest wait between two tries of a job.
BEHIND_SECONDS = 900

# Most transient errors are over after a few tries, which take less time than this.
NOT_GETTING_THROUGH_SECONDS = 600


@dataclass(frozen=True)
class Problem:
    """`code` is for machines and never changes; `rule` or `queue` names the affected object."""

    code: str
    detail: str
    rule: str = ""
    queue: str = ""


def find_problems(numbers: Numbers) -> Iterator[Problem]:
    """Yield the problems, the most general first."""
    if not numbers.lanes_alive:
        yield Problem(
            "no_lane",
            "No lane is alive, so nothing is copied. Check that `manage.py qcluster` runs.",
        )
    queues = [queue for queue in numbers.queues if queue.enabled]
    if queues and not numbers.pollers_alive:
        yield Problem(
            "no_poller",
            "No poller is alive, so no event is received. Check that `manage.py qcluster` runs "
            "with S3SYNC_POLL_IN_CLUSTER on, or else that `manage.py pollsqs` runs.",
        )
    for queue in queues:
        yield from _queue_problems(queue, numbers)
    for queue in numbers.queues:
        if queue.dead_letters_last_week:  # older ones are no longer reported
            yield Problem(
                "dead_letters",
                f"Queue {queue.name}: {count(queue.dead_letters_last_week, 'dead letter')} of the "
                "last 7 days could not be taken in; see the dead letters for the reasons.",
                queue=queue.name,
            )
    for target in numbers.failing_targets:
        when = f" {ago(target.last_error_at, numbers.generated_at)}" if target.last_error_at else ""
        yield Problem(
            "target_failing",
            f"Notification target {target.name} can't be notified; last error{when}: "
            f"{target.last_error}",
        )
    for token in numbers.ending_tokens:
        yield Problem(
            "token_ends",
            f"API token {token.name} {_ends(token.ends_at, numbers.generated_at)}. Create a new "
            "one, give it to whatever uses this one, and revoke this one.",
        )
    if numbers.uploads_not_aborted:
        yield Problem(
            "uploads_not_aborted",
            f"{count(numbers.uploads_not_aborted, 'unfinished upload')} could not be aborted for "
            "an hour, so OSS bills the parts. Uploads to abort has the cause and the fix of each; "
            "s3sync tries again by itself, at least once an hour.",
        )
    yield from _upkeep_problems(numbers.upkeep, now=numbers.generated_at)
    for circuit in numbers.open_circuits:
        yield from circuit_problems(circuit, numbers)
    yield from _collision_problems(numbers.collisions)
    for sweep in numbers.sweeps_to_tell:
        yield _sweep_problem(sweep, numbers.generated_at)
    yield from _canary_problems(numbers)
    for rule in numbers.rules:
        yield from _rule_problems(rule, numbers.generated_at)


def _ends(at: datetime, now: datetime) -> str:
    if at <= now:
        return f"ended {ago(at, now)}, and calls with it are refused"
    return f"ends in {in_words((at - now).total_seconds())}; calls with it are refused from then on"


def _queue_problems(queue: QueueStatus, numbers: Numbers) -> Iterator[Problem]:
    now = numbers.generated_at
    if queue.last_error:  # the next successful poll clears it
        when = f" {ago(queue.last_error_at, now)}" if queue.last_error_at else ""
        yield Problem(
            "queue_error",
            f"Queue {queue.name}: last error{when}: {queue.last_error}",
            queue=queue.name,
        )
    elif not numbers.pollers_alive:
        return  # no_poller says it for all queues
    elif queue.last_polled_at is None:
        yield Problem(
            "queue_silent", f"Queue {queue.name} has never been polled.", queue=queue.name
        )
    elif age(queue.last_polled_at, now) > SILENT_SECONDS:
        yield Problem(
            "queue_silent",
            f"Queue {queue.name} was last polled {ago(queue.last_polled_at, now)}.",
            queue=queue.name,
        )


def _upkeep_problems(upkeep: Upkeep, *, now: datetime) -> Iterator[Problem]:
    if (old := upkeep.old_transaction) is not None:
        yield Problem(
            "old_transaction",
            f"{old.what} has been open since {ago(old.began_at, now)}"
            ": until it ends, PostgreSQL can't remove rows that are done with, and jobs are "
            "claimed ever more slowly. Let a backup or report end; what was forgotten is ended by "
            f"`{old.ends_by}`.",
        )
    if upkeep.is_bloated:
        yield Problem(
            "queue_bloated",
            f"The queue's table has {upkeep.dead_rows:,} dead rows beside "
            f"{upkeep.queued_rows:,} jobs, so jobs are claimed ever more slowly. PostgreSQL "
            "removes dead rows by itself once no transaction, replication slot or standby holds "
            "them: end what is old. If nothing is, run `VACUUM replication_transferjob` and see "
            "that `autovacuum` is on.",
        )
    if upkeep.strays:
        more = " or more" if upkeep.strays == MAX_STRAYS else ""
        yield Problem(
            "history_without_day",
            f"{count(upkeep.strays, 'ended job')}{more} of days for which the history has no "
            "partition, so "
            "retention can't remove them. The cluster makes the days each hour: look for "
            "history.day_is_locked in its log, or run `manage.py prune`, which says what is "
            "wrong.",
        )


def _collision_problems(collisions: Iterable[Collision]) -> Iterator[Problem]:
    """Yield one problem for each rule, so that the problems of any one rule are complete."""
    by_rule: defaultdict[str, dict[str, Collision]] = defaultdict(dict)  # by the other rule's name
    for collision in collisions:
        one, other = collision.one.name, collision.other.name
        by_rule[one].setdefault(other, collision)
        by_rule[other].setdefault(one, collision)
    for name, by_other in sorted(by_rule.items()):
        first, *more = by_other.values()
        and_more = f" {name} collides with {count(len(more), 'more rule')}." if more else ""
        yield Problem("rules_collide", f"{first}{and_more}", rule=name)


def circuit_problems(circuit: Circuit, numbers: Numbers) -> Iterator[Problem]:
    """Yield what more than one rule may wait for; `rule_parked` tells of circuits of one rule."""
    if circuit.scope == CircuitScope.RULE or circuit.opened_at is None:
        return
    others = " Other hosts go on." if circuit.host and len(numbers.hosts) > 1 else ""
    scope = {
        CircuitScope.BUCKET: f"{circuit.side} bucket {circuit.place}",
        CircuitScope.ENDPOINT: f"{circuit.side} endpoint {circuit.place}",
        CircuitScope.PROFILE: f"{circuit.side} credential profile {circuit.place} on host "
        f"{circuit.host}",
    }[CircuitScope(circuit.scope)]
    yield Problem(
        "circuit_open",
        f"Nothing has succeeded with the {scope} since "
        f"{ago(circuit.first_failed_at or circuit.opened_at, numbers.generated_at)}. "
        f"{circuit.error.cause} {circuit.error.hint} ({circuit.detail}){others} It is tried again "
        "by itself, and what waits goes on after a success.",
    )


def _sweep_problem(sweep: Sweep, now: datetime) -> Problem:
    rule, when = sweep.rule.name, ago(sweep.ended_at or sweep.began_at, now)
    if sweep.state == SweepState.FAILED:
        return Problem(
            "sweep_failed",
            f"The buckets of rule {rule} could not be compared {when}: {sweep.error}",
            rule=rule,
        )
    return Problem(
        "events_lost",
        f"A comparison of the buckets of rule {rule} that ended {when} found "
        f"{count(sweep.lost, 'change')} that no event told of, and has them copied. Was the "
        f"bucket's notification off? Sweep {sweep.pk} in the admin has the keys, and the hours. "
        "This line goes after the next comparison without such a find.",
        rule=rule,
    )


def _canary_problems(numbers: Numbers) -> Iterator[Problem]:
    now = numbers.generated_at
    # Without a poller no event can come, which no_poller tells.
    is_polled = bool(numbers.pollers_alive) or not any(queue.enabled for queue in numbers.queues)
    for canary in numbers.canaries:
        rule = canary.rule.name
        if detail := failure(canary, now):
            yield Problem("canary_failed", detail, rule=rule)
        if detail := silence(canary, now, is_polled=is_polled):
            yield Problem("canary_silent", detail, rule=rule)


def _retrying_problems(rule: RuleNumbers) -> Iterator[Problem]:
    for retrying in rule.retrying_by_error:
        meaning = MEANINGS[ErrorCode(retrying.code)]
        needs_a_person = meaning.disposition is Disposition.PERSON
        if needs_a_person or retrying.oldest_seconds > NOT_GETTING_THROUGH_SECONDS:
            yield Problem(
                "not_getting_through",
                f"Rule {rule.name}: {count(retrying.jobs, 'job')} not getting through, the oldest "
                f"change {in_words(retrying.oldest_seconds)} old. {meaning.cause} {meaning.hint}",
                rule=rule.name,
            )


def _rule_problems(rule: RuleNumbers, now: datetime) -> Iterator[Problem]:
    jobs = rule.jobs
    waiting = f"with {count(jobs.pending, 'job')} waiting"
    if rule.paused_at:
        yield Problem(
            "rule_paused",
            f"Rule {rule.name} was paused {ago(rule.paused_at, now)}, {waiting}. Resume the "
            "rule to continue.",
            rule=rule.name,
        )
    elif rule.parked_at:
        meaning = MEANINGS[ErrorCode(rule.parked_code)]
        yield Problem(
            "rule_parked",
            f"Rule {rule.name} was parked {ago(rule.parked_at, now)}, {waiting}. {meaning.cause} "
            f"{meaning.hint} The rule is tried again by itself, and resumes after a success.",
            rule=rule.name,
        )
    elif not rule.enabled and jobs.pending:
        yield Problem(
            "rule_disabled",
            f"Rule {rule.name} is disabled, {waiting}. Enable the rule, or cancel its jobs.",
            rule=rule.name,
        )
    elif jobs.oldest_pending_seconds is not None and jobs.oldest_pending_seconds > BEHIND_SECONDS:
        yield Problem("rule_behind", how_far_behind(rule), rule=rule.name)
    if rule.enabled and not rule.paused_at and not rule.parked_at:
        yield from _retrying_problems(rule)
    if rule.running_long:
        yield Problem(
            "running_long",
            f"Rule {rule.name}: {count(rule.running_long, 'job')} running for over an hour. Look "
            "at the jobs that run, and at the speed of the network to the source and to OSS.",
            rule=rule.name,
        )
    if rule.braked_at:
        yield Problem(
            "deletes_braked",
            f"Rule {rule.name} stopped deleting {ago(rule.braked_at, now)}: there were more "
            f"deletes than its limits allow, {count(jobs.deletes_held, 'delete')} waiting. Copies "
            "go on. If the deletes are intended, confirm them on the rule's page; if not, put the "
            "objects back.",
            rule=rule.name,
        )
    elif jobs.deletes_held:
        yield Problem(
            "deletes_held",
            f"Rule {rule.name}: {count(jobs.deletes_held, 'delete')} waiting for a person, because "
            "another program may have written the replicas. Copies and other deletes go on. Look "
            "at them on the rule's page; confirm the deletes, or cancel their jobs to keep the "
            "replicas.",
            rule=rule.name,
        )
    if jobs.failed:
        yield Problem(
            "failed_jobs",
            f"Rule {rule.name}: {count(jobs.failed, 'failed job')}; see the cause and the fix of "
            "each under Failures, then retry.",
            rule=rule.name,
        )


def how_far_behind(rule: RuleNumbers) -> str:
    """Describe in words how far a rule with pending jobs is behind."""
    jobs = rule.jobs
    return (
        f"Rule {rule.name} is behind: {count(jobs.pending, 'job')} waiting, {jobs.retrying} of "
        f"them after an unsuccessful try; the oldest change is "
        f"{in_words(jobs.oldest_pending_seconds or 0)} old."
    )
