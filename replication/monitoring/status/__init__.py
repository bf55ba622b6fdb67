"""How replication is doing: the numbers and the problems, the same for machines and people."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import add

from replication.monitoring.status.completed import Completed, read_completed
from replication.monitoring.status.numbers import (
    HostStatus,
    Numbers,
    OpenJobs,
    QueueStatus,
    RuleNumbers,
    read_numbers,
)
from replication.monitoring.status.problems import Problem, find_problems

__all__ = [
    "VERSION",
    "HostStatus",
    "JobNumbers",
    "Numbers",
    "OpenJobs",
    "Problem",
    "QueueStatus",
    "RuleNumbers",
    "RuleStatus",
    "Status",
    "find_problems",
    "read_numbers",
    "read_status",
    "read_status_of",
]

VERSION = "0.1.0"

# Problems of all rules that name none of them.
CODES_OF_ALL_RULES = {"no_lane", "no_poller"}
# A problem of one rule that names another one, too.
NAMES_TWO = {"rules_collide"}


@dataclass(frozen=True)
class JobNumbers(OpenJobs):
    """The numbers of the jobs of one rule, or of all rules.

    Lag is the time from the announcement of a change to the end of its job, for the jobs completed
    in the last hour; None if there are none. Completed jobs are counted by whole minutes.
    """

    completed_last_hour: int
    completed_last_day: int
    bytes_last_hour: int
    bytes_last_day: int
    lag_p50_seconds: float | None
    lag_p99_seconds: float | None


@dataclass(frozen=True)
class RuleStatus(RuleNumbers):
    jobs: JobNumbers


@dataclass(frozen=True)
class Status:
    generated_at: datetime
    version: str
    healthy: bool
    problems: list[Problem]
    lanes_alive: int
    pollers_alive: int
    jobs: JobNumbers
    rules: list[RuleStatus]
    queues: list[QueueStatus]
    hosts: list[HostStatus]
    lambda_heard_at: datetime | None  # time of its last signed call, to the minute


def read_status() -> Status:
    """Read the numbers from the database, and find the problems."""
    numbers = read_numbers()
    return _status(numbers, read_completed(), list(find_problems(numbers)))


def read_status_of(rule_ids: Set[int]) -> Status:
    """The status of these rules alone: no queue, no host and no problem names anything else."""
    numbers = read_numbers()
    rules = [rule for rule in numbers.rules if rule.id in rule_ids]
    names = {rule.name for rule in rules}
    problems = [
        each
        for each in find_problems(numbers)
        if each.code in CODES_OF_ALL_RULES or (each.rule in names and each.code not in NAMES_TWO)
    ]
    completed = {key: done for key, done in read_completed().items() if key in rule_ids}
    status = _status(replace(numbers, rules=rules), completed, problems)
    return replace(status, queues=[], hosts=[], lambda_heard_at=None)


def _status(
    numbers: Numbers, completed: Mapping[int, Completed], problems: list[Problem]
) -> Status:
    return Status(
        generated_at=numbers.generated_at,
        version=VERSION,
        healthy=not problems,
        problems=problems,
        lanes_alive=numbers.lanes_alive,
        pollers_alive=numbers.pollers_alive,
        jobs=_job_numbers(
            OpenJobs.total([rule.jobs for rule in numbers.rules]),
            reduce(add, completed.values(), Completed()),
        ),
        rules=[
            RuleStatus(
                **{
                    **vars(rule),
                    "jobs": _job_numbers(rule.jobs, completed.get(rule.id, Completed())),
                }
            )
            for rule in numbers.rules
        ],
        queues=numbers.queues,
        hosts=numbers.hosts,
        lambda_heard_at=numbers.lambda_heard_at,
    )


def _job_numbers(open_jobs: OpenJobs, completed: Completed) -> JobNumbers:
    lag_p50_seconds, lag_p99_seconds = completed.lag_percentiles
    return JobNumbers(
        **vars(open_jobs),
        completed_last_hour=completed.last_hour,
        completed_last_day=completed.last_day,
        bytes_last_hour=completed.bytes_last_hour,
        bytes_last_day=completed.bytes_last_day,
        lag_p50_seconds=lag_p50_seconds,
        lag_p99_seconds=lag_p99_seconds,
    )
