"""How much a lane may hold and send: by its places, its rules, and how fast transfers end."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, ValuesView
from dataclasses import replace
from datetime import timedelta

from django.db.models import Count, Max, Sum
from django.db.models.functions import Now

from replication.jobs import ClaimedJob, circuits
from replication.jobs.circuits import RecentCircuit
from replication.jobs.rate_limits import ByteAllowance
from replication.models import Circuit, CompletedMinute, ReplicationRule

# The copy of the rules is at most this old. A change of what an operator sets is known sooner:
# jobs are claimed with the version of their rule, and a NOTIFY tells of changes.
RULES_SECONDS = 3.0
# The share of a lane's places that one rule may take where there are several rules: its slow jobs
# must not keep out those of all others.
ONE_RULES_SHARE = 0.75
# Give a rule without a recent success only a few places, so that a broken rule burns few attempts.
PLACES_WITHOUT_SUCCESS = 4
RECENT_SECONDS = 3600
# The fiber whose transfer ends starts a job that was claimed ahead, while the lane still settles
# the old one. A job that waits here can't be claimed by another lane, so a lane claims no more
# ahead than its fibers start in this time: a lane with slow transfers claims nothing ahead.
AHEAD_SECONDS = 0.1
WINDOW_SECONDS = 0.5


class Rulebook:
    """The rules as the lane last read them. Used on the lane's own thread."""

    def __init__(self) -> None:
        self._rules: dict[int, ReplicationRule] = {}
        self._read_at = 0.0
        self._circuits: dict[int, list[RecentCircuit]] = {}  # by the rule that is behind them
        self._successful: set[int] = set()  # rules under which an object was written recently
        self._allowances: dict[int, ByteAllowance] = {}  # by destination

    @property
    def rules(self) -> ValuesView[ReplicationRule]:
        return self._rules.values()

    def of(self, rule_id: int) -> ReplicationRule:
        """The rule; a rule that is newer than the last reading is read now."""
        if rule_id not in self._rules:
            self.read()
        return self._rules[rule_id]

    def read_if_old(self) -> None:
        """Read the rules again if the last reading is older than RULES_SECONDS."""
        if time.monotonic() - self._read_at > RULES_SECONDS:
            self.read()

    def expire(self) -> None:
        """A rule was changed: have the rules read again before the next claim."""
        self._read_at = 0.0

    def read_if_changed(self) -> None:
        """Read the rules again if one was made, changed or deleted.

        Ids and versions only grow: these three numbers together are different for different rules.
        """
        now = ReplicationRule.objects.aggregate(Count("pk"), Max("pk"), Sum("version"))
        ours = [rule.version for rule in self.rules]
        if (*now.values(),) != (len(ours), max(self._rules, default=None), sum(ours) or None):
            self.read()

    def read(self) -> list[ReplicationRule]:
        """Read the rules again; returns the enabled ones."""
        rules = ReplicationRule.objects.select_related("source", "destination")
        self._rules = {rule.pk: rule for rule in rules}
        recent = circuits.read_recent()
        self._circuits = {
            rule.pk: [one for one in recent if circuits.concerns(one.circuit, rule)]
            for rule in self.rules
        }
        self._read_at = time.monotonic()
        return [rule for rule in self.rules if rule.enabled]

    def apply_to(self, job: ClaimedJob) -> ClaimedJob:
        """The job under its rule as it is known here, which is at least as new as at the claim."""
        if self.of(job.rule_id).version < job.rule_version:
            self.read()
        version = self.of(job.rule_id).version
        return job if version == job.rule_version else replace(job, rule_version=version)

    def begin(self) -> list[ReplicationRule]:
        """Read the rules, and which of them had a recent success in any lane; returns the enabled
        ones."""
        recent = CompletedMinute.objects.filter(
            minute__gt=Now() - timedelta(seconds=RECENT_SECONDS), copied_bytes__gt=0
        )
        enabled = self.read()
        self.note_success(
            rule_id
            for rule_id in recent.values_list("rule_id", flat=True).distinct()
            if not self.failing_circuits([rule_id])
        )
        return enabled

    # -- places --------------------------------------------------------------------------------

    def places_of_a_rule(self, places: int) -> int:
        """How many of the lane's `places` the jobs of one rule may take."""
        return math.ceil(places * ONE_RULES_SHARE) if len(self._rules) > 1 else places

    def room(self, held: Counter[int], *, places: int) -> dict[int, int]:
        """How many more jobs of each rule may be claimed, by the rule's id.

        Args:
            held: how many jobs of each rule the lane holds now.
            places: how many jobs the lane may hold in all.
        """
        most = self.places_of_a_rule(places)
        few = min(most, PLACES_WITHOUT_SUCCESS)
        room = {}
        for rule_id in self._rules:
            allowed = most if rule_id in self._successful else few
            allowed = min(allowed, self._places_behind(rule_id, most=most))
            room[rule_id] = max(0, allowed - held[rule_id])
        return room

    def _places_behind(self, rule_id: int, *, most: int) -> int:
        """How many places the rule's circuits allow: none behind an open one, and after it has
        closed, twice as many each second."""
        behind = self._circuits[rule_id]
        if any(one.is_open for one in behind):
            return 0
        closed_for = min((one.closed_for_seconds for one in behind), default=math.inf)
        closed_for += time.monotonic() - self._read_at
        if closed_for > circuits.GROWTH_SECONDS:
            return most
        return int(PLACES_WITHOUT_SUCCESS * 2**closed_for)

    @property
    def has_open_circuits(self) -> bool:
        """Whether a rule waits behind an open circuit."""
        return any(rule.parked_at for rule in self.rules) or any(
            one.is_open for behind in self._circuits.values() for one in behind
        )

    @property
    def is_barred_here(self) -> bool:
        """Whether a rule waits because credentials of this host are refused."""
        return any(
            one.is_open and one.circuit.host for behind in self._circuits.values() for one in behind
        )

    def failing_circuits(self, rule_ids: Iterable[int]) -> list[Circuit]:
        """The circuits with failures that these rules are behind."""
        behind = [one for rule_id in rule_ids for one in self._circuits.get(rule_id, ())]
        return list({one.circuit.pk: one.circuit for one in behind if one.has_failures}.values())

    def note_success(self, rule_ids: Iterable[int]) -> None:
        """An object was written under each of these rules."""
        self._successful.update(rule_ids)

    def note_failure(self, rule_id: int) -> None:
        """Something failed that may concern more than one object of the rule."""
        self._successful.discard(rule_id)

    # -- bytes ---------------------------------------------------------------------------------

    @property
    def has_allowances(self) -> bool:
        return bool(self._allowances)

    def allowance(self, rule: ReplicationRule) -> ByteAllowance | None:
        """The bytes that the rule's transfers may send; None if the destination has no limit."""
        limit, destination_id = rule.destination.max_bytes_per_second, rule.destination_id
        if limit and destination_id not in self._allowances:
            self._allowances[destination_id] = ByteAllowance(destination_id, limit)
        return self._allowances.get(destination_id)

    def fill_allowances(self) -> None:
        """Fetch the bytes that may be sent in the next moment."""
        self.read_if_old()
        limits = {rule.destination_id: rule.destination.max_bytes_per_second for rule in self.rules}
        for destination_id, allowance in self._allowances.items():
            allowance.fill(limits.get(destination_id))


class Throughput:
    """How fast transfers ended in the last WINDOW_SECONDS. Used on the lane's own thread."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()  # time.monotonic(), count
        self._count = 0

    def record(self, count: int) -> None:
        """`count` transfers ended now."""
        self._ends.append((time.monotonic(), count))
        self._count += count

    def expected(self) -> int:
        """How many transfers will end in the next AHEAD_SECONDS at this speed."""
        while self._ends and time.monotonic() - self._ends[0][0] > WINDOW_SECONDS:
            self._count -= self._ends.popleft()[1]
        return int(self._count / WINDOW_SECONDS * AHEAD_SECONDS)
