"""The policies to attach to the service's own users and roles, one for each credential profile."""

from collections.abc import Sequence
from typing import Any

from replication.models import EventQueue, ReplicationRule
from replication.provisioning.arns import QueueAddress, queue_address
from replication.provisioning.policies import iam_statements, ram_statements
from replication.provisioning.steps import Plan


def service_policies(
    rules: Sequence[ReplicationRule], plans: Sequence[Plan]
) -> dict[str, dict[str, Any]]:
    """By file name, for all rules and queues, whatever part of them is planned."""
    queues = {
        (row.credential_profile, queue_address(row.url, region=row.region, name=row.name))
        for row in EventQueue.objects.filter(enabled=True)
    } | {(each.needs.row.credential_profile, each.needs.address) for each in plans}
    found: dict[str, dict[str, Any]] = {}
    for profile in sorted({rule.source.credential_profile for rule in rules} | _names(queues)):
        statements = iam_statements(
            [rule for rule in rules if rule.source.credential_profile == profile],
            [address for name, address in queues if name == profile],
        )
        if statements:
            found[f"iam-{profile}.json"] = {"Version": "2012-10-17", "Statement": statements}
    for profile in sorted({rule.destination.credential_profile for rule in rules}):
        statements = ram_statements(
            [rule for rule in rules if rule.destination.credential_profile == profile]
        )
        found[f"ram-{profile}.json"] = {"Version": "1", "Statement": statements}
    return found


def _names(queues: set[tuple[str, QueueAddress]]) -> set[str]:
    return {profile for profile, _ in queues}
