"""Plans, makes and removes what AWS needs so that events of the rules' objects arrive.

Provisioning changes and removes only its own parts: a notification whose Id begins with `s3sync-`,
a statement of a policy whose Sid begins with `S3Sync`, a queue with the tag `s3sync=provisioned`.
docs/guides/provisioning.md describes it.
"""

from collections.abc import Sequence

from replication.errors import ReplicationError
from replication.models import EventQueue
from replication.stores.credentials import access_key
from replication.tools.provisioning.applying import apply_plan
from replication.tools.provisioning.arns import ProvisioningError
from replication.tools.provisioning.aws import Aws
from replication.tools.provisioning.desired import all_rules, desired_queues, removable_queues
from replication.tools.provisioning.planning import plan_queue, plan_queue_removal
from replication.tools.provisioning.policies import service_policies
from replication.tools.provisioning.steps import Plan, Step

__all__ = [
    "Aws",
    "Plan",
    "ProvisioningError",
    "Step",
    "all_rules",
    "apply_plan",
    "plan_all",
    "plan_removal",
    "service_policies",
]


def plan_all(
    aws: Aws, *, queue_name: str, source_names: Sequence[str], receiver_arn: str
) -> list[Plan]:
    """Plan what is missing for the rules of the database: one plan for each queue.

    Args:
        queue_name: plan only this queue, which need not exist; empty: all queues that are polled.
        source_names: plan only the buckets of these sources; empty: of all sources.
        receiver_arn: the role that the queue's policy lets receive; empty: the role that the
            queue's credential profile assumes, or that the policy has already.

    Raises:
        ProvisioningError: what is wrong, and the fix.
    """
    desired = desired_queues(
        all_rules(),
        queue_name=queue_name,
        source_names=source_names,
        new_address=aws.new_address,
    )
    return [
        plan_queue(each, aws.find(each), receiver_arn=receiver_arn or _role_of(each.row))
        for each in desired
    ]


def plan_removal(aws: Aws, *, queue_name: str, source_names: Sequence[str]) -> list[Plan]:
    """Plan to remove what exists of all that `plan_all` makes; the arguments are the same."""
    removable = removable_queues(
        all_rules(),
        queue_name=queue_name,
        source_names=source_names,
        new_address=aws.new_address,
    )
    return [plan_queue_removal(each, aws.find(each)) for each in removable]


def _role_of(row: EventQueue) -> str:
    """The role that polls the queue; empty if it is not known on this machine."""
    try:
        key = access_key(row.credential_profile)
    except ReplicationError:
        return ""
    return key.role_arn if key else ""
