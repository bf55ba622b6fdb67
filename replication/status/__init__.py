"""How replication is doing: the numbers and the conclusions, the same for machines and people."""

from dataclasses import dataclass
from datetime import datetime

from replication.status.numbers import (
    HostStatus,
    JobNumbers,
    Numbers,
    QueueStatus,
    RuleStatus,
    read_numbers,
)
from replication.status.problems import Problem, find_problems

__all__ = [
    "VERSION",
    "JobNumbers",
    "Numbers",
    "Problem",
    "QueueStatus",
    "RuleStatus",
    "Status",
    "find_problems",
    "read_numbers",
    "read_status",
]

VERSION = "0.1.0"


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
    lambda_heard_at: datetime | None  # when its last signed call came, to the minute


def read_status() -> Status:
    """Read the numbers from the database, and draw the conclusions."""
    numbers = read_numbers()
    problems = list(find_problems(numbers))
    return Status(
        generated_at=numbers.generated_at,
        version=VERSION,
        healthy=not problems,
        problems=problems,
        lanes_alive=numbers.lanes_alive,
        pollers_alive=numbers.pollers_alive,
        jobs=numbers.jobs,
        rules=numbers.rules,
        queues=numbers.queues,
        hosts=numbers.hosts,
        lambda_heard_at=numbers.lambda_heard_at,
    )
