"""Applies plans to AWS and the database, step by step. Steps before a refusal stay done."""

from collections.abc import Callable

from django.core.exceptions import ValidationError

from replication.models import EventQueue
from replication.tools.provisioning.arns import ProvisioningError
from replication.tools.provisioning.aws import PROPAGATION_SECONDS, Aws
from replication.tools.provisioning.steps import (
    MakeQueue,
    Plan,
    PollQueue,
    PutNotifications,
    RemoveQueue,
    SetAttributes,
    Step,
)


def apply_plan(plan: Plan, aws: Aws, *, on_done: Callable[[Step], object]) -> None:
    """Do the plan's steps in order; calls `on_done` after each.

    Raises:
        ProvisioningError: a step was refused; the steps after it were not tried.
    """
    assert not plan.obstacles, "S3 would refuse it"
    row, retry_seconds = plan.desired.row, 0.0
    for step in plan.steps:
        match step.change:
            case MakeQueue(address, attributes):
                url = aws.make_queue(row, address, attributes)
                if address == plan.desired.address:
                    row.url = row.url or url
                retry_seconds = PROPAGATION_SECONDS
            case SetAttributes() as change:
                aws.set_attributes(row, change)
                retry_seconds = PROPAGATION_SECONDS
            case RemoveQueue(url):
                aws.remove_queue(row, url)
            case PutNotifications() as change:
                aws.put_notifications(change, retry_seconds=retry_seconds)
            case PollQueue(enabled, url):
                row.enabled, row.url = enabled, row.url or url
                _save(row)
        on_done(step)


def _save(row: EventQueue) -> None:
    if row.pk:
        row.save(update_fields=["enabled"])  # no other field: pollers count in the same row
        return
    try:
        row.full_clean()
    except ValidationError as error:
        raise ProvisioningError(
            f"queue {row.name}: " + " ".join(error.messages),
            hint="Give it another name with --queue, or correct the existing queue.",
        ) from error
    row.save(force_insert=True)
