"""The turns of rules: where a lane's next claim begins."""

import random
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

SLOW_SECONDS = 0.006
# For so many times the time of a slow claim, the next ones begin where it got: a twentieth of the
# lane's time goes to slow claims at most.
REST = 20
REST_SECONDS_AT_MOST = 5.0  # a claim may also have been slow because it waited for a lock
MOST_REACHED = 100  # each costs the claims that begin there some microseconds


class Visit(NamedTuple):
    """A claim came by the jobs of this rule with this priority, as the `place`-th."""

    place: int
    priority: int
    rule_id: int


@dataclass
class Turns:
    """For each priority, the rule whose job was the last that this lane was dealt.

    The lane's next claim goes on with the rule after it. Claims deal jobs out like cards: over
    several claims, all rules with due jobs of a priority give the same number, give or take one.

    After a slow claim, also how far the lane got in the backlogs that gave jobs: where next claims
    begin, for a short while. Jobs that came later and were due before are seen after it, or as soon
    as a claim comes short.
    """

    after: dict[int, int] = field(default_factory=dict)
    reached: dict[tuple[int, int], datetime] = field(default_factory=dict)
    may_have_missed: bool = False  # the last claim came short, and did not read from the begin
    _trusted_until: float = 0.0  # the reached places; monotonic

    def begin(self, rule_ids: Collection[int]) -> int:
        """Where to begin with a priority that is not known yet: anywhere, as lanes that begin at
        different rules rarely choose the same jobs."""
        return random.choice([*rule_ids]) if rule_ids else 0  # noqa: S311 - no secret

    def forget_old(self) -> None:
        """To be called before a claim."""
        if time.monotonic() >= self._trusted_until:
            self.reached.clear()

    def note(self, dealt: list[tuple[Visit, datetime]], *, is_short: bool, seconds: float) -> None:
        """A claim took these jobs, given as their visits and since when they were due, in so many
        seconds; it came short if it was to take more.

        The rule that gave most jobs gave the last one: of several such, the one visited last.
        """
        jobs = Counter(visit for visit, _ in dealt)
        for visit in sorted(jobs, key=lambda visit: (jobs[visit], visit.place)):
            self.after[visit.priority] = visit.rule_id
        self.may_have_missed = bool(self.reached) and is_short
        if self.may_have_missed:
            self.reached.clear()
            self._trusted_until = 0.0
        elif not self.reached and seconds >= SLOW_SECONDS:
            self._trusted_until = time.monotonic() + min(REST * seconds, REST_SECONDS_AT_MOST)
        if time.monotonic() < self._trusted_until:
            self._note_reached(dealt)

    def _note_reached(self, dealt: list[tuple[Visit, datetime]]) -> None:
        since: dict[tuple[int, int], datetime] = {}
        for visit, due in dealt:
            backlog = visit.priority, visit.rule_id
            since[backlog] = min(due, since.get(backlog, due))
        self.reached |= since
        if len(self.reached) > MOST_REACHED:
            self.reached = since
