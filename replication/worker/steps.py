"""The steps of jobs and parts, as they run beside a lane's thread."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import structlog

from replication.errors import ErrorCode, ReplicationError, TransferStopped
from replication.jobs.rate_limits import ByteAllowance
from replication.models import ReplicationRule
from replication.stores.factory import destination_store, source_store
from replication.transfer.capabilities import BucketCapabilities
from replication.transfer.multipart import carry_part
from replication.transfer.object import Transfer
from replication.transfer.results import CarriedPart, DeleteWanted
from replication.worker.leases import HeldJob, HeldPart, JobResult

log = structlog.get_logger(__name__)

T = TypeVar("T")


def result_of(step: Callable[[], T], key: str) -> T | ReplicationError | TransferStopped:
    """The result of the step, or the reason why it has none."""
    try:
        return step()
    except (ReplicationError, TransferStopped) as reason:
        return reason
    except Exception as error:
        log.exception("job.failed_unexpectedly", key=key)
        return ReplicationError(ErrorCode.UNEXPECTED, f"{type(error).__name__}: {error}")


def open_stores(rules: Sequence[ReplicationRule]) -> None:
    """Open each rule's stores now: the first use of an SDK takes a good part of a second."""
    for rule in rules:
        with suppress(ReplicationError):  # the transfer reports it
            source_store(rule.source)
            destination_store(rule.destination)


def delete(held: HeldJob, rule: ReplicationRule, wanted: DeleteWanted) -> JobResult:
    destination = destination_store(rule.destination)
    return wanted.carry_out(destination, raise_if_stopped=held.raise_if_stopped)


def transfer(
    held: HeldJob,
    rule: ReplicationRule,
    *,
    threshold_bytes: int,
    part_bytes: int,
    allowance: ByteAllowance | None,
    capabilities: BucketCapabilities,
) -> JobResult:
    return Transfer(
        rule=rule,
        key=held.job.key,
        source=source_store(rule.source),
        destination=destination_store(rule.destination),
        raise_if_stopped=held.raise_if_stopped,
        threshold_bytes=threshold_bytes,
        part_bytes=part_bytes,
        allowance=allowance,
        capabilities=capabilities,
        size_bytes=held.job.size_bytes,
        ignores_filters=held.job.ignores_filters,
        only_tags=held.job.only_tags,
    ).run()


def carry(held: HeldPart, rule: ReplicationRule, *, allowance: ByteAllowance | None) -> CarriedPart:
    return carry_part(
        held.part,
        source_store(rule.source),
        destination_store(rule.destination),
        raise_if_stopped=held.raise_if_stopped,
        allowance=allowance,
    )
