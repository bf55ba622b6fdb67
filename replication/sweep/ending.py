"""Ends sweeps: what was listed has been looked at again, and the jobs have done their part."""

import structlog
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from replication.models import DeletePolicy, FindingState, Sweep, SweepState
from replication.sweep import recording, slices
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict

log = structlog.get_logger(__name__)

# More extra keys than these are left to a person: a source that lost its objects is no reason to
# delete all replicas.
MOST_EXTRAS = 10
MOST_EXTRAS_SHARE = 0.01
MOST_EXTRAS_AT_ALL = 10_000


def end_if_settled(sweep: Sweep) -> bool:
    """End the sweep if nothing is left to look at, and no job of it is left. Returns whether."""
    if sweep.findings.filter(state=FindingState.SEEN).exists():
        return False
    if sweep.mends and not slices.pending_at_most(sweep.rule_id, 0):
        return False
    if sweep.mends_extras and _order_extras(sweep):
        return False
    settled = Sweep.objects.filter(pk=sweep.pk, state=SweepState.SETTLING)
    if settled.update(state=SweepState.COMPLETED, ended_at=Now()):
        log.info("sweep.completed", rule=sweep.rule.name, kind=sweep.kind, sweep=sweep.pk)
    return True


def _order_extras(sweep: Sweep) -> bool:
    """Have the replicas looked at whose objects are gone; returns whether any is. The jobs delete
    what the rule deletes, by a look of their own, with its marks and its brake.
    """
    extras = sweep.findings.filter(
        verdict=Verdict.EXTRA, state=FindingState.CONFIRMED, is_ordered=False
    ).exclude(cause__in=[Cause.FOREIGN, Cause.KEPT])
    keys = list(extras.values_list("key", flat=True)[: MOST_EXTRAS_AT_ALL + 1])
    if not keys or sweep.rule.delete_policy == DeletePolicy.KEEP:
        return False
    limit = max(MOST_EXTRAS, min(MOST_EXTRAS_AT_ALL, int(sweep.replica_keys * MOST_EXTRAS_SHARE)))
    if sweep.extra > limit or not sweep.source_keys:
        held = (
            f"{sweep.extra:,} extra keys are left to a person: they are more than {limit:,} (1 % "
            "of the destination's keys)"
            if sweep.source_keys
            else f"{sweep.extra:,} extra keys are left to a person: the source is empty"
        )
        Sweep.objects.filter(pk=sweep.pk).update(
            error=f"{held}. If the objects are to be deleted in OSS too, select the findings in "
            "the admin and have them looked at."
        )
        return False
    with transaction.atomic():
        ordered = recording.order(sweep, keys)
        found = sweep.findings.filter(key__in=keys)
        Sweep.objects.filter(pk=sweep.pk).update(
            ordered=F("ordered") + ordered,
            lost=F("lost") - found.filter(cause=Cause.LOST).count(),  # they are settled once more
        )
        found.update(is_ordered=True, state=FindingState.SEEN, look_at=Now())
    return True
