"""The rules as a lane last read them: what they allow it to hold, and to send."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, ValuesView
from datetime import timedelta

from django.db.models.functions import Now

from replication.jobs.rate_limits import ByteAllowance
from replication.models import CompletedMinute, ReplicationRule

RULES_SECONDS = 3.0  # what an operator changes in a rule takes effect by then
# Of a lane's places, where there are several rules: slow jobs of one must not keep all from others.
ONE_RULES_SHARE = 0.75
# Of a rule under which nothing was written lately: if it needs a person, few jobs meet that.
UNPROVEN_PLACES = 4
PROVEN_SECONDS = 3600
# What is claimed ahead is begun by the fiber whose transfer ended, while the lane still settles
# that. More than a moment's worth would wait here, where no other lane can take it: a lane whose
# transfers are slow claims nothing ahead.
AHEAD_SECONDS = 0.1
WINDOW_SECONDS = 0.5


class Rulebook:
    """Used on the lane's own thread."""

    def __init__(self) -> None:
        self._rules: dict[int, ReplicationRule] = {}
        self._read_at = 0.0
        self._proven: set[int] = set()  # rules under which something was written
        self._allowances: dict[int, ByteAllowance] = {}  # by destination

    @property
    def rules(self) -> ValuesView[ReplicationRule]:
        return self._rules.values()

    def of(self, rule_id: int) -> ReplicationRule:
        """The rule, also if it was made after the last reading."""
        if rule_id not in self._rules:
            self.read()
        return self._rules[rule_id]

    def read_if_old(self) -> None:
        """Read the rules anew, if it is time to."""
        if time.monotonic() - self._read_at > RULES_SECONDS:
            self.read()

    def expire(self) -> None:
        """Something was written to a rule: it has to be read before the next claim."""
        self._read_at = 0.0

    def read(self) -> list[ReplicationRule]:
        """Read the rules anew; those that are enabled."""
        rules = ReplicationRule.objects.select_related("source", "destination")
        self._rules = {rule.pk: rule for rule in rules}
        self._read_at = time.monotonic()
        return [rule for rule in self.rules if rule.enabled]

    def begin(self) -> list[ReplicationRule]:
        """Read the rules, and under which of them any lane has written lately; the enabled ones."""
        lately = CompletedMinute.objects.filter(
            minute__gt=Now() - timedelta(seconds=PROVEN_SECONDS),
            copied_bytes__gt=0,
            rule__errors_in_a_row=0,
            rule__parked_at=None,
        )
        self.prove(lately.values_list("rule_id", flat=True).distinct())
        return self.read()

    # -- places --------------------------------------------------------------------------------

    def places_of_a_rule(self, places: int) -> int:
        """How many jobs of a rule the lane may hold at most, if it may hold so many in all."""
        return math.ceil(places * ONE_RULES_SHARE) if len(self._rules) > 1 else places

    def room(self, held: Counter[int], *, places: int) -> dict[int, int]:
        """How many more jobs of each rule may be claimed, with so many of each held."""
        most = self.places_of_a_rule(places)
        unproven = min(most, UNPROVEN_PLACES)
        return {
            rule_id: max(0, (most if rule_id in self._proven else unproven) - held[rule_id])
            for rule_id in self._rules
        }

    def prove(self, rule_ids: Iterable[int]) -> None:
        """Something was written under these rules."""
        self._proven.update(rule_ids)

    def doubt(self, rule_id: int) -> None:
        """The rule needs a person."""
        self._proven.discard(rule_id)

    # -- bytes ---------------------------------------------------------------------------------

    @property
    def has_allowances(self) -> bool:
        return bool(self._allowances)

    def allowance(self, rule: ReplicationRule) -> ByteAllowance | None:
        """What the rule's transfers may send; None where the destination has no limit."""
        limit, destination_id = rule.destination.max_bytes_per_second, rule.destination_id
        if limit and destination_id not in self._allowances:
            self._allowances[destination_id] = ByteAllowance(destination_id, limit)
        return self._allowances.get(destination_id)

    def fill_allowances(self) -> None:
        """Fetch what may be sent in the next moment."""
        self.read_if_old()
        limits = {rule.destination_id: rule.destination.max_bytes_per_second for rule in self.rules}
        for destination_id, allowance in self._allowances.items():
            allowance.fill(limits.get(destination_id))


class Flow:
    """The ends of transfers of the last moment. Used on the lane's own thread."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()
        self._count = 0

    def note(self, count: int) -> None:
        """So many transfers ended."""
        self._ends.append((time.monotonic(), count))
        self._count += count

    def ahead(self) -> int:
        """How many will end in a moment, if they go on like that."""
        while self._ends and time.monotonic() - self._ends[0][0] > WINDOW_SECONDS:
            self._count -= self._ends.popleft()[1]
        return int(self._count / WINDOW_SECONDS * AHEAD_SECONDS)
