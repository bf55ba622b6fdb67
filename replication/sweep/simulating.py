"""Says what a rule would do to a bucket, before it is enabled or even saved: nothing is written."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from replication.mapping.keys import KeyPolicy, PlannedKey, plan_key
from replication.models import DeletePolicy, ReplicationRule
from replication.sweep.comparing import Batch, CantCompare, Comparison, Sides
from replication.sweep.judging import Verdict
from replication.sweep.looking import LOOKS_AT_ONCE
from replication.sweep.merging import Range
from replication.sweep.reading import Unordered
from replication.sweep.reporting import DOLLARS_PER_LIST, YUAN_PER_LIST

DOLLARS_PER_GET = 0.0004 / 1000
EXAMPLES = 5


@dataclass
class Simulation:
    """What a rule would do."""

    counts: Counter[str] = field(default_factory=Counter)
    renamed: int = 0  # keys that OSS does not accept, and that the rule rewrites
    examples: dict[str, list[str]] = field(default_factory=dict)  # by verdict
    would_delete: int = 0

    @property
    def to_copy(self) -> int:
        return self.counts["missing"] + self.counts["different"]

    @property
    def dollars(self) -> float:
        """Requests to S3 at list prices, of the simulation and of the copies, without egress."""
        return self.counts["source_requests"] * DOLLARS_PER_LIST + self.to_copy * DOLLARS_PER_GET

    @property
    def yuan(self) -> float:
        """Requests to OSS at list prices."""
        return (self.counts["destination_requests"] + self.to_copy) * YUAN_PER_LIST


def simulate(rule: ReplicationRule, *, prefix: str = "") -> Simulation:
    """Compare all keys of the rule, which need not be saved.

    Raises:
        CantCompare, ReplicationError: see `Comparison`.
    """
    simulation = Simulation()
    within = prefix if prefix.startswith(rule.source_prefix) else rule.source_prefix
    with (
        ThreadPoolExecutor(2, "listing") as listers,
        ThreadPoolExecutor(LOOKS_AT_ONCE, "look") as lookers,
    ):
        comparison = Comparison(Sides.of(rule), Range(within), listers=listers, lookers=lookers)
        try:
            for batch in comparison.batches():
                _add(simulation, rule, batch)
        except Unordered as error:
            raise CantCompare(
                f"A bucket lists its keys in no order ({error}): save the rule without enabling "
                "it, and compare with `manage.py reconcile`, which sorts them."
            ) from error
    return simulation


def _add(simulation: Simulation, rule: ReplicationRule, batch: Batch) -> None:
    simulation.counts.update(batch.counts)
    for one in batch.judged:
        examples = simulation.examples.setdefault(one.verdict.value, [])
        if len(examples) < EXAMPLES:
            examples.append(one.pair.key)
        if one.verdict is Verdict.EXTRA:
            simulation.would_delete += rule.delete_policy == DeletePolicy.MIRROR
        elif one.verdict in {Verdict.MISSING, Verdict.DIFFERENT}:
            planned = plan_key(
                one.pair.wanted_key,
                policy=KeyPolicy(rule.key_policy),
                prefix=rule.destination_prefix,
            )
            simulation.renamed += isinstance(planned, PlannedKey) and planned.is_rewritten
