"""What AWS needs so that rules hear of their objects: planned, made, and taken out again.

Only parts of ours are ever changed or removed: a notification whose Id begins with `s3sync-`, a
statement of a policy whose Sid begins with `S3Sync`, a queue with the tag `s3sync=provisioned`.
docs/guides/provisioning.md describes it.
"""

from collections.abc import Sequence

from replication.errors import ReplicationError
from replication.models import EventQueue
from replication.stores.credentials import access_key
from replication.tools.provisioning.applying import carry_out
from replication.tools.provisioning.arns import ProvisioningError
from replication.tools.provisioning.aws import Aws
from replication.tools.provisioning.desired import all_rules, leftovers, needs
from replication.tools.provisioning.planning import plan, removal
from replication.tools.provisioning.policies import service_policies
from replication.tools.provisioning.steps import Plan, Step

__all__ = [
    "Aws",
    "Plan",
    "ProvisioningError",
    "Step",
    "all_rules",
    "carry_out",
    "plan_all",
    "plan_removal",
    "service_policies",
]


def plan_all(
    aws: Aws, *, queue_name: str, source_names: Sequence[str], receiver_arn: str
) -> list[Plan]:
    """What is missing for the rules of the database, a plan for each queue.

    Args:
        queue_name: this queue alone, which need not exist; empty: all that are polled.
        source_names: the buckets of these sources alone; empty: of all.
        receiver_arn: the role that the queue's policy lets receive; empty: the one that its
            credential profile assumes, or that the policy has already.

    Raises:
        ProvisioningError: what is wrong, and the fix.
    """
    wanted = needs(
        all_rules(),
        queue_name=queue_name,
        source_names=source_names,
        new_address=aws.new_address,
    )
    return [
        plan(each, aws.find(each), receiver_arn=receiver_arn or _role_of(each.row))
        for each in wanted
    ]


def plan_removal(aws: Aws, *, queue_name: str, source_names: Sequence[str]) -> list[Plan]:
    """What `plan_all` would have made, and is there: how to take it out. Arguments as there."""
    wanted = leftovers(
        all_rules(),
        queue_name=queue_name,
        source_names=source_names,
        new_address=aws.new_address,
    )
    return [removal(each, aws.find(each)) for each in wanted]


def _role_of(row: EventQueue) -> str:
    """The role that polls, where it is known here; an administrator's machine may not know it."""
    try:
        key = access_key(row.credential_profile)
    except ReplicationError:
        return ""
    return key.role_arn if key else ""
