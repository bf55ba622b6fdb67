"""Looks at keys on both sides, and says why those that differ do; waits where that may help."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from replication.errors import Disposition, ReplicationError
from replication.models import ReplicationRule
from replication.sweep import slices
from replication.sweep.causes import (
    NO_DIFFERENCE,
    Cause,
    causes_of,
    database_now,
    last_jobs,
)
from replication.sweep.comparing import Sides
from replication.sweep.judging import DIFFERENCES, Judgement, Verdict
from replication.sweep.looking import Looker

_T = TypeVar("_T")

JOBS_SECONDS = 1000.0  # then the jobs of keys do not get through, which the status page tells
POLL_SECONDS = 0.5


class RuleChanged(Exception):
    """The rule was changed or deleted since it was loaded."""


@dataclass(frozen=True)
class Seen:
    """What a look at some keys has found: the causes are of those that differ."""

    judged: Mapping[str, Judgement]
    causes: Mapping[str, tuple[Cause, str]]

    def cause(self, key: str) -> Cause | None:
        """Why the key differs, if it does."""
        return self.causes[key][0] if key in self.causes else None

    def updated(self, later: "Seen") -> "Seen":
        """What was found, as a later look at some of the keys has it."""
        others = {key: why for key, why in self.causes.items() if key not in later.judged}
        return Seen({**self.judged, **later.judged}, {**others, **later.causes})


class KeyLooks:
    """Looks at keys of a rule.

    Args:
        sides: of the rule, with its source and destination loaded.
        on_look: called at least once a second while it waits.
    """

    def __init__(self, sides: Sides, *, lookers: Executor, on_look: Callable[[], None]) -> None:
        self._rule = sides.rule
        self._looker = Looker(sides.rule, sides.source, sides.destination, lookers)
        self._on_look = on_look
        self._are_jobs_stuck = False
        self.throttles = 0

    @property
    def requests(self) -> tuple[int, int]:
        """How many requests went to the source and to the destination."""
        return self._looker.source_requests, self._looker.destination_requests

    def see(self, keys: Sequence[str]) -> Seen:
        """Look at both sides of keys. A replica without a mark of ours is foreign.

        Raises:
            ReplicationError: a side refuses, or can't be reached for minutes.
            RuleChanged: what was found before is of another rule.
        """
        version = ReplicationRule.objects.filter(pk=self._rule.pk).values_list("version", flat=True)
        if version.first() != self._rule.version:
            raise RuleChanged
        since = database_now()
        judged = self._patiently(lambda: list(self._looker.look(keys)))
        differing = [one for one in judged if one.verdict in DIFFERENCES]
        causes = causes_of(self._rule, differing, listed_since=since) if differing else {}
        extra = [
            one.pair.key
            for one in differing
            if one.verdict is Verdict.EXTRA and causes[one.pair.key][0] not in NO_DIFFERENCE
        ]
        ours = self._patiently(lambda: self._looker.ours(extra)) if extra else set()
        causes |= {key: (Cause.FOREIGN, "") for key in extra if key not in ours}
        return Seen({one.pair.key: one for one in judged}, causes)

    def wait_for_jobs(self, keys: list[str]) -> None:
        """Wait until no job of the keys is waiting or running, or the jobs do not get through."""
        # Waited for once, not for each of many keys whose destination is away.
        ends_at = time.monotonic() + (0 if self._are_jobs_stuck else JOBS_SECONDS)
        while True:
            jobs = last_jobs(self._rule, keys)
            is_any_left = any(job.is_unfinished for of_key in jobs.values() for job in of_key)
            if not is_any_left or time.monotonic() >= ends_at:
                self._are_jobs_stuck = is_any_left
                return
            self.sleep(POLL_SECONDS)

    def sleep(self, seconds: float) -> None:
        """Sleep so long, if that is positive, and go on to tell of the progress."""
        ends_at = time.monotonic() + seconds
        while (rest := ends_at - time.monotonic()) > 0:
            self._on_look()
            time.sleep(min(rest, POLL_SECONDS))

    def _patiently(self, look: Callable[[], _T]) -> _T:
        """Look; after an error that may end by itself, several times."""
        for seconds in slices.RETRY_SECONDS:
            self._on_look()
            try:
                return look()
            except ReplicationError as error:
                if error.disposition not in {Disposition.RETRY, Disposition.SLOW_DOWN}:
                    raise
                self.throttles += error.disposition is Disposition.SLOW_DOWN
            self.sleep(seconds)
        return look()
