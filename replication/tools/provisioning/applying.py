"""Plans → AWS and the database, step by step. What was done before a refusal stays done."""

from collections.abc import Callable

from django.core.exceptions import ValidationError

from replication.models import EventQueue
from replication.tools.provisioning.arns import ProvisioningError
from replication.tools.provisioning.aws import SETTLES_SECONDS, Aws
from replication.tools.provisioning.steps import (
    MakeQueue,
    Plan,
    PollQueue,
    PutNotifications,
    RemoveQueue,
    SetAttributes,
    Step,
)


def carry_out(plan: Plan, aws: Aws, *, say: Callable[[Step], object]) -> None:
    """Do the plan's steps in their order; says each that is done.

    Raises:
        ProvisioningError: a step was refused; those after it were not tried.
    """
    assert not plan.obstacles, "S3 would refuse it"
    row, patience_seconds = plan.needs.row, 0.0
    for step in plan.steps:
        match step.change:
            case MakeQueue(address, attributes):
                url = aws.make_queue(row, address, attributes)
                if address == plan.needs.address:
                    row.url = row.url or url
                patience_seconds = SETTLES_SECONDS
            case SetAttributes() as change:
                aws.set_attributes(row, change)
                patience_seconds = SETTLES_SECONDS
            case RemoveQueue(url):
                aws.remove_queue(row, url)
            case PutNotifications() as change:
                aws.put_notifications(change, patience_seconds=patience_seconds)
            case PollQueue(enabled, url):
                row.enabled, row.url = enabled, row.url or url
                _save(row)
        say(step)


def _save(row: EventQueue) -> None:
    if row.pk:
        row.save(update_fields=["enabled"])  # this alone: pollers count in the same row
        return
    try:
        row.full_clean()
    except ValidationError as error:
        raise ProvisioningError(
            f"queue {row.name}: " + " ".join(error.messages),
            hint="Give it another name with --queue, or correct the queue that is there.",
        ) from error
    row.save(force_insert=True)
