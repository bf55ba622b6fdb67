"""The queue's policy, and the policies that the service's own users and roles need.

A statement of ours is known by its Sid. The service's policies are documents for an operator to
attach; s3sync never attaches one. Only `service_policies` reads the database.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replication.mapping.keys import REWRITTEN_MARK, KeyPolicy, PlannedKey, plan_key
from replication.models import (
    ArchivePolicy,
    DeletePolicy,
    Destination,
    EventQueue,
    ObjectAcl,
    ReplicationRule,
    SourceKind,
)
from replication.tools.provisioning.arns import QueueAddress, bucket_arn, queue_address
from replication.tools.provisioning.steps import Plan

OWNER, SEND, RECEIVE = "S3SyncOwner", "S3SyncSend", "S3SyncReceive"

# The pollers call nothing else: they have the queue's URL, and do not ask for its depth.
RECEIVER_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")

# IAM refuses a document with other characters. A prefix ends before the first of them, so the
# policy allows a little more than the rule needs.
_IAM_CHARACTERS = re.compile("[\x20-\xff]*")
_IAM_REFUSED = re.compile("[^\x20-\xff]+")

Statement = dict[str, Any]


def owner_statement(queue: QueueAddress) -> Statement:
    """Lets the account's own policies decide, as for a queue without a policy."""
    return {
        "Sid": OWNER,
        "Effect": "Allow",
        "Principal": {"AWS": queue.owner_arn},
        "Action": "sqs:*",
        "Resource": queue.arn,
    }


def send_statement(queue: QueueAddress, buckets: Iterable[str]) -> Statement:
    """Lets S3 send, only for these buckets and only if they are of the queue's own account.

    The name of a deleted bucket is free for other accounts, so the name alone is not enough.
    """
    return {
        "Sid": SEND,
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {
            "ArnEquals": {
                "aws:SourceArn": [
                    bucket_arn(bucket, region=queue.region) for bucket in sorted(buckets)
                ]
            },
            "StringEquals": {"aws:SourceAccount": queue.account},
        },
    }


def receive_statement(queue: QueueAddress, receiver_arn: str) -> Statement:
    """Lets the service's role do what a poller does."""
    return {
        "Sid": RECEIVE,
        "Effect": "Allow",
        "Principal": {"AWS": receiver_arn},
        "Action": list(RECEIVER_ACTIONS),
        "Resource": queue.arn,
    }


def statements(policy: str) -> dict[str, Statement]:
    """A queue's statements by Sid; the number is added where a Sid is missing or repeated."""
    named: dict[str, Statement] = {}
    for number, each in enumerate(
        _as_list(json.loads(policy).get("Statement", []) if policy else [])
    ):
        sid = each.get("Sid", "")
        named[sid if sid and sid not in named else f"{sid}#{number}"] = each
    return named


def allowed_buckets(policy: str) -> set[str]:
    """The buckets that our statement lets S3 send for."""
    return _source_buckets(statements(policy).get(SEND, {}))


def buckets_allowed_by_others(policy: str, queue: QueueAddress) -> set[str]:
    """The buckets of statements that differ from ours only in the Sid."""
    found: set[str] = set()
    for sid, statement in statements(policy).items():
        buckets = _source_buckets(statement)
        as_ours = {**statement, "Sid": SEND}
        if sid != SEND and _normal(as_ours) == _normal(send_statement(queue, buckets)):
            found |= buckets
    return found


def receiver(policy: str) -> str:
    """The ARN that our statement lets receive; empty if there is no such statement."""
    principal = statements(policy).get(RECEIVE, {}).get("Principal", {})
    return str(principal.get("AWS", ""))


def replace_statements(policy: str, ours: Mapping[str, Statement | None]) -> str:
    """The policy with these statements of ours, by Sid; None removes a statement.

    Returns `policy` itself if that changes nothing; an empty text if no statement remains.
    """
    present = statements(policy)
    changed = {
        sid: statement
        for sid, statement in ours.items()
        if _normal(present.get(sid)) != _normal(statement)
    }
    if not changed:
        return policy
    merged = {**present, **changed}
    remaining = [statement for statement in merged.values() if statement is not None]
    version = json.loads(policy).get("Version", "2012-10-17") if policy else "2012-10-17"
    return document(remaining, version=version) if remaining else ""


def document(listed: Sequence[Statement], *, version: str = "2012-10-17") -> str:
    """A policy document, in the form of AWS and Alibaba Cloud."""
    return json.dumps({"Version": version, "Statement": list(listed)}, ensure_ascii=False)


def service_policies(
    rules: Sequence[ReplicationRule], plans: Sequence[Plan]
) -> dict[str, dict[str, Any]]:
    """The policies of all credential profiles, by file name.

    They are for all rules and all queues, also where the plans are for some of them only.
    """
    queues = {
        (row.credential_profile, queue_address(row.url, region=row.region, name=row.name))
        for row in EventQueue.objects.filter(enabled=True)
    } | {(each.desired.row.credential_profile, each.desired.address) for each in plans}
    aws_profiles = {rule.source.credential_profile for rule in rules}
    aws_profiles |= {profile for profile, _ in queues}
    found: dict[str, dict[str, Any]] = {}
    for profile in sorted(aws_profiles):
        allowed = iam_statements(
            [rule for rule in rules if rule.source.credential_profile == profile],
            [address for name, address in queues if name == profile],
        )
        if allowed:
            found[f"iam-{profile}.json"] = {"Version": "2012-10-17", "Statement": allowed}
    for profile in sorted({rule.destination.credential_profile for rule in rules}):
        allowed = ram_statements(
            [rule for rule in rules if rule.destination.credential_profile == profile]
        )
        found[f"ram-{profile}.json"] = {"Version": "1", "Statement": allowed}
    return found


def iam_statements(rules: Sequence[ReplicationRule], queues: Sequence[QueueAddress]) -> list[Any]:
    """The least that the service's role needs in AWS for these rules and queues."""
    rules = [rule for rule in rules if rule.source.kind == SourceKind.S3]
    restored = [rule for rule in rules if rule.archive_policy == ArchivePolicy.RESTORE]
    return [
        *_allow(
            "S3SyncRead",
            [
                "s3:GetObject",
                "s3:GetObjectVersion",
                "s3:GetObjectTagging",
                "s3:GetObjectVersionTagging",
            ],
            _source_objects(rules),
        ),
        # Without a condition on the prefix: it never holds for a GET, and S3 would answer 403, not
        # 404, for a missing object.
        *_allow(
            "S3SyncMissingIs404",
            ["s3:ListBucket"],
            {bucket_arn(rule.source.bucket, region=rule.source.region) for rule in rules},
        ),
        *_allow("S3SyncRestore", ["s3:RestoreObject"], _source_objects(restored)),
        *_allow("S3SyncCanary", ["s3:PutObject"], _canaries(rules)),
        *_allow("S3SyncReceive", list(RECEIVER_ACTIONS), {queue.arn for queue in queues}),
    ]


def ram_statements(rules: Sequence[ReplicationRule]) -> list[Any]:
    """The least that the service's RAM user needs in OSS for these rules."""
    deleting = [rule for rule in rules if rule.delete_policy == DeletePolicy.MIRROR]
    setting_acls = [rule for rule in rules if rule.acl != ObjectAcl.DEFAULT]
    return [
        *_allow(
            "",
            [
                "oss:PutObject",
                "oss:PutObjectTagging",
                "oss:DeleteObjectTagging",
                "oss:AbortMultipartUpload",
                # For `verify`, and to skip a large object that is already at the destination.
                "oss:GetObject",
                "oss:GetObjectTagging",
            ],
            _replicas(rules),
        ),
        *_allow("", ["oss:DeleteObject"], _replicas(deleting)),
        *_allow("", ["oss:PutObjectAcl"], _replicas(setting_acls)),
        # For `reconcile`. Not limited to prefixes, which would need a condition for each.
        *_allow("", ["oss:ListObjects"], {_oss_bucket(rule.destination) for rule in rules}),
    ]


def _allow(sid: str, actions: list[str], resources: Iterable[str]) -> list[Statement]:
    """A statement; none if there are no resources. RAM has no Sid."""
    listed = sorted(resources)
    named = {"Sid": sid} if sid else {}
    allowed = {**named, "Effect": "Allow", "Action": actions, "Resource": listed}
    return [allowed] if listed else []


def _source_objects(rules: Iterable[ReplicationRule]) -> set[str]:
    starts = set()
    for rule in rules:
        prefix = _IAM_CHARACTERS.match(rule.source_prefix)
        assert prefix, "the pattern also matches an empty text"
        starts.add(f"{bucket_arn(rule.source.bucket, region=rule.source.region)}/{prefix[0]}")
    return {f"{_escaped(start)}*" for start in _shortest(starts)}


def _canaries(rules: Iterable[ReplicationRule]) -> set[str]:
    """One object a rule; a star stands for what IAM refuses in its key."""
    return {
        f"{bucket_arn(rule.source.bucket, region=rule.source.region)}/"
        + "*".join(map(_escaped, _IAM_REFUSED.split(rule.canary_key)))
        for rule in rules
        if rule.canary
    }


def _replicas(rules: Iterable[ReplicationRule]) -> set[str]:
    starts = set()
    for rule in rules:
        prefixes = {rule.destination_key(rule.source_prefix)}
        if rule.key_policy == KeyPolicy.REWRITE:
            prefixes.add(_rewritten_start(rule.destination_prefix))
        # RAM has no escapes. A question mark stands for any one sign, and so allows the least more.
        starts |= {
            f"{_oss_bucket(rule.destination)}/{prefix.replace('*', '?')}" for prefix in prefixes
        }
    return {f"{start}*" for start in _shortest(starts)}


def _rewritten_start(prefix: str) -> str:
    """The prefix of the keys that a rule with this destination prefix rewrites."""
    planned = plan_key(f"{prefix}\0", policy=KeyPolicy.REWRITE, prefix=prefix)
    assert isinstance(planned, PlannedKey), "REWRITE skips no key"
    return "".join(planned.key.rpartition(REWRITTEN_MARK)[:2])


def _source_buckets(statement: Statement) -> set[str]:
    condition = statement.get("Condition", {}).get("ArnEquals", {})
    return {arn.rpartition(":")[2] for arn in _as_list(condition.get("aws:SourceArn", []))}


def _oss_bucket(destination: Destination) -> str:
    return f"acs:oss:*:*:{destination.bucket}"


def _shortest(starts: set[str]) -> list[str]:
    """The texts that do not begin with another one of them."""
    return [
        start
        for start in starts
        if not any(start.startswith(other) and start != other for other in starts)
    ]


def _escaped(arn: str) -> str:
    """The ARN with the escapes of IAM: `$`, `*` and `?` have a meaning in policies."""
    return "".join(f"${{{sign}}}" if sign in "$*?" else sign for sign in arn)


def _normal(value: Any) -> Any:
    """A form to compare: AWS may reorder a list, and writes a list of one item as the item."""
    if isinstance(value, dict):
        return {name: _normal(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted(value, key=str) if len(value) != 1 else value[0]
    return value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
