"""Which deletes a lane may send: of its own replicas, under the rule as it is, within the brake."""

from collections.abc import Sequence

from replication import jobs
from replication.errors import RuleChanged
from replication.jobs import ClaimedJob, delete_brake
from replication.mapping.ownership import Mark
from replication.models import HoldReason, UnmarkedPolicy
from replication.transfer.results import DeleteHeld, DeleteWanted
from replication.worker.capacity import Rulebook
from replication.worker.leases import Claim, Finished


def select(
    finished: Sequence[Finished], rulebook: Rulebook
) -> tuple[list[tuple[ClaimedJob, DeleteWanted]], list[Finished]]:
    """The deletes to send now, and all other ends.

    No replica is deleted under an old version of a rule, and none that is not of the rule. Two ends
    may be of one job: of a claim that was lost, and of the next claim.
    """
    wishes = [end for end in finished if isinstance(end.result, DeleteWanted)]
    if not wishes:
        return [], list(finished)
    outdated = jobs.outdated([end.job for end in wishes])
    held = _to_hold([end for end in wishes if end.job.claim not in outdated], rulebook)
    asking = [end.job for end in wishes if end.job.claim not in outdated | held.keys()]
    granted = delete_brake.ask([(job, rulebook.of(job.rule_id)) for job in asking])
    permitted: list[tuple[ClaimedJob, DeleteWanted]] = []
    rest: list[Finished] = []
    for end in finished:
        if not isinstance(end.result, DeleteWanted):
            rest.append(end)
        elif end.job.claim in outdated:
            rest.append(Finished(end.job, RuleChanged()))
        elif end.job.claim in held:
            rest.append(Finished(end.job, DeleteHeld(held[end.job.claim])))
        elif end.job.id in granted:
            permitted.append((end.job, end.result))
        else:
            rest.append(end)
    return permitted, rest


def _to_hold(wishes: Sequence[Finished], rulebook: Rulebook) -> dict[Claim, HoldReason]:
    """The deletes of replicas that are not known to be of their rule, and why they are held."""
    unowned = [end for end in wishes if _wanted(end).mark is not Mark.OURS]
    if not unowned:
        return {}
    confirmed = jobs.confirmed_deletes([end.job for end in unowned])
    held = {}
    for end in unowned:
        if end.job.id in confirmed:
            continue
        if _wanted(end).mark is Mark.OTHER:
            held[end.job.claim] = HoldReason.OTHER_MARK
        elif not _counts_as_ours(end, rulebook):
            held[end.job.claim] = HoldReason.UNMARKED
    return held


def _counts_as_ours(end: Finished, rulebook: Rulebook) -> bool:
    """Whether to delete a replica without a mark: the rule says so, or our record names it."""
    return rulebook.of(end.job.rule_id).unmarked_policy == UnmarkedPolicy.DELETE or (
        jobs.is_recorded_copy(end.job, destination_etag=_wanted(end).replica_etag)
    )


def _wanted(end: Finished) -> DeleteWanted:
    assert isinstance(end.result, DeleteWanted)
    return end.result
