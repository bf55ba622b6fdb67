"""Changes that no event tells of: which ones, and whether the sweeps reported those alone."""

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import unquote

import psycopg

from replication.mapping.metadata import PROVENANCE_SOURCE
from tests.chaos.oss_control import Write
from tests.chaos.rules import Rule, Rules
from tests.chaos.writer import Change, Made, Step

SHARE = 0.01
LEAST = 3  # of each kind
QUIET_SHARE = 0.3  # of the time of all changes
# The pages and looks behind a finding are at most so old when it is recorded: a batch of a slice,
# and requests that are held up.
STALE_SECONDS = 20.0
# From a lane's look at the source to its request to delete the replica: looks at the replica,
# answers that do not come, and a database that restarts.
LOOK_TO_DELETE_SECONDS = 15.0


def choose(chance: random.Random, steps: Sequence[Step]) -> frozenset[Step]:
    """The changes not to announce, of keys of their own. A delete follows a put, and a put has
    bytes: something must differ without its event. Half of them are quiet, so that hardly any other
    event has the key looked at: puts of keys with no other change, and deletes long after the put.
    """
    before: dict[Step, Step | None] = {}
    last: dict[str, Step] = {}
    for step in steps:
        before[step] = last.get(step.key)
        last[step.key] = step
    least_gap = max(step.at_seconds for step in steps) * QUIET_SHARE

    def is_quiet(step: Step) -> bool:
        earlier = before[step]
        gap = inf if earlier is None else step.at_seconds - earlier.at_seconds
        least = inf if step.change is Change.PUT else least_gap
        return last[step.key] is step and gap >= least

    def follows_put(step: Step) -> bool:
        earlier = before[step]
        return earlier is not None and earlier.change is Change.PUT

    puts = [step for step in steps if step.change is Change.PUT and step.size_bytes]
    deletes = [step for step in steps if step.change is Change.DELETE and follows_put(step)]
    chosen: dict[str, Step] = {}
    for candidates in (puts, deletes):
        shuffled = chance.sample(candidates, len(candidates))
        number = max(LEAST, round(SHARE * len(candidates)))
        ends_at = len(chosen) + number
        quiet = [step for step in shuffled if is_quiet(step)][: (number + 1) // 2]
        for step in [*quiet, *shuffled]:
            if len(chosen) < ends_at:
                chosen.setdefault(step.key, step)
    return frozenset(chosen.values())


class Finding(NamedTuple):
    """A lost event that a sweep reported."""

    rule: str
    key: str
    state: str
    found_at: float


class Ended(NamedTuple):
    """A job that has ended."""

    rule: str
    key: str
    origin: str
    at: float


@dataclass(frozen=True)
class Deletion:
    """A replica that was deleted: the key of its object, and from when until when."""

    key: str
    began: float
    ended: float


class Fate(Enum):
    """What became of a change that no event told of."""

    REPORTED = "reported"
    # Another event of the key had it looked at after the change, before any sweep did.
    ANNOUNCED = "announced"
    UNREPORTED = "unreported"


@dataclass(frozen=True)
class Reported:
    """What the sweeps said of the changes that no event told of."""

    dropped: int
    reported: list[str]
    unreported: list[str]
    false_alarms: list[str]
    needless_deletes: list[str]

    def __str__(self) -> str:
        return (
            f"dropped={self.dropped} unreported={len(self.unreported)} "
            f"false_alarms={len(self.false_alarms)} needless_deletes={len(self.needless_deletes)}"
        )

    @property
    def is_clean(self) -> bool:
        return not (self.unreported or self.false_alarms or self.needless_deletes)


@dataclass(frozen=True)
class Record:
    """All that happened: the changes, all that the rules have been, the lost events that the sweeps
    reported, the jobs that have ended, and the deleted replicas.
    """

    log: Sequence[Made]
    unannounced: frozenset[Step]
    states: Sequence[Rules]
    findings: Sequence[Finding]
    jobs: Sequence[Ended]
    deletions: Sequence[Deletion]

    def report(self) -> Reported:
        dropped = [made for made in self.log if made.step in self.unannounced]
        fates = [
            (self._fate(rule, made), f"{rule.name}: {made.step}")
            for made in dropped
            for rule in self.states[-1]
            if self._must_find(rule, made.step)
        ]
        return Reported(
            dropped=len(dropped),
            reported=[name for fate, name in fates if fate is Fate.REPORTED],
            unreported=[name for fate, name in fates if fate is Fate.UNREPORTED],
            false_alarms=[str(one) for one in self.findings if self._is_false(one)],
            needless_deletes=[str(one) for one in self.deletions if self._is_needless(one)],
        )

    def _must_find(self, rule: Rule, step: Step) -> bool:
        """Whether the rule misses the change. It leaves what it copied to another place there."""
        if step.change is Change.PUT:
            return rule.asks_for(step.key)
        return rule.delete_policy == "mirror" and all(
            was.asks_for(step.key)
            and was.delete_policy == rule.delete_policy
            and was.place(step.key) == rule.place(step.key)
            for was in self._of_name(rule.name)
        )

    def _fate(self, rule: Rule, made: Made) -> Fate:
        if any(
            (one.rule, one.key) == (rule.name, made.step.key) and one.found_at >= made.began
            for one in self.findings
        ):
            return Fate.REPORTED
        later = [
            job
            for job in self.jobs
            if (job.rule, job.key) == (rule.name, made.step.key) and job.at >= made.began
        ]
        if later and min(later, key=attrgetter("at")).origin != "sweep":
            return Fate.ANNOUNCED
        return Fate.UNREPORTED

    def _is_false(self, finding: Finding) -> bool:
        """Whether the last change that the sweep can have seen of the key was announced."""
        if not all(was.asks_for(finding.key) for was in self._of_name(finding.rule)):
            return False  # its event may have come while the rule did not ask for it
        earlier = [
            made
            for made in self.log
            if made.step.key == finding.key and made.began <= finding.found_at
        ]
        announced = [
            made.began
            for made in earlier
            if made.step not in self.unannounced and made.ended < finding.found_at - STALE_SECONDS
        ]
        return not any(
            made.step in self.unannounced and made.ended >= max(announced, default=0)
            for made in earlier
        )

    def _is_needless(self, deletion: Deletion) -> bool:
        """Whether the object existed all the time in which the lane can have looked for it."""
        looked = deletion.began - LOOK_TO_DELETE_SECONDS
        of_key = [made for made in self.log if made.step.key == deletion.key]
        puts = [
            made.began for made in of_key if made.step.change is Change.PUT and made.ended < looked
        ]
        return bool(puts) and not any(
            made.step.change is Change.DELETE
            and made.ended >= max(puts)
            and made.began <= deletion.ended
            for made in of_key
        )

    def _of_name(self, name: str) -> list[Rule]:
        return [rule for rules in self.states for rule in rules if rule.name == name]


def read_findings(database: psycopg.Connection) -> list[Finding]:
    """The lost events that sweeps reported."""
    rows = database.execute(
        """
        SELECT rule.name, key, finding.state, extract(epoch FROM found_at)::float8
        FROM replication_sweepfinding AS finding
        JOIN replication_sweep AS sweep ON sweep.id = sweep_id
        JOIN replication_replicationrule AS rule ON rule.id = rule_id
        WHERE cause = 'lost' AND finding.state IN ('mended', 'confirmed')
        """
    )
    return [Finding(*row) for row in rows]


def read_jobs(database: psycopg.Connection) -> list[Ended]:
    """The jobs that have ended, and when."""
    rows = database.execute(
        """
        SELECT rule.name, key, origin, extract(epoch FROM finalized_at)::float8
        FROM replication_job AS job
        JOIN replication_replicationrule AS rule ON rule.id = rule_id
        WHERE finalized_at IS NOT NULL
        """
    )
    return [Ended(*row) for row in rows]


def deletions(writes: Iterable[Write]) -> list[Deletion]:
    """The replicas that were deleted, with the keys of their objects by their marks."""
    since_boot = time.time() - time.monotonic()
    return [
        Deletion(mark.partition("/")[2], write.started + since_boot, write.over + since_boot)
        for write in writes
        if write.deleted_meta is not None
        and (mark := unquote(write.deleted_meta.get(PROVENANCE_SOURCE, "")))
    ]
