"""Who may do what: the queue's policy, and those for the service's own users and roles. Pure.

A statement of ours is known by its Sid. The policies for the service are documents to attach; we
never attach one.
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

# Nothing else is called: the queue is known by its URL, and its depth is a luxury.
RECEIVER_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")

# IAM refuses a document with any other character. A shorter prefix allows a little more.
_FIT_FOR_IAM = re.compile("[\x20-\xff]*")

Statement = dict[str, Any]


def owner_statement(queue: QueueAddress) -> Statement:
    """The account's own policies decide, as with a queue that has no policy."""
    return {
        "Sid": OWNER,
        "Effect": "Allow",
        "Principal": {"AWS": queue.owner_arn},
        "Action": "sqs:*",
        "Resource": queue.arn,
    }


def send_statement(queue: QueueAddress, buckets: Iterable[str]) -> Statement:
    """S3 may send, and only for these buckets of the queue's own account.

    A bucket's name is free once it is deleted: the account keeps out who takes it then.
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
    """The service's role may do what a poller does."""
    return {
        "Sid": RECEIVE,
        "Effect": "Allow",
        "Principal": {"AWS": receiver_arn},
        "Action": list(RECEIVER_ACTIONS),
        "Resource": queue.arn,
    }


def statements(policy: str) -> dict[str, Statement]:
    """A queue's policy by Sid; what has none, or one that is taken, by its place besides."""
    named: dict[str, Statement] = {}
    for number, each in enumerate(
        _listed(json.loads(policy).get("Statement", []) if policy else [])
    ):
        sid = each.get("Sid", "")
        named[sid if sid and sid not in named else f"{sid}#{number}"] = each
    return named


def allowed_buckets(policy: str) -> set[str]:
    """The buckets that our statement lets S3 send for."""
    return _source_buckets(statements(policy).get(SEND, {}))


def allowed_by_others(policy: str, queue: QueueAddress) -> set[str]:
    """The buckets that a statement lets S3 send for which is ours but for its name."""
    found: set[str] = set()
    for sid, statement in statements(policy).items():
        buckets = _source_buckets(statement)
        as_ours = {**statement, "Sid": SEND}
        if sid != SEND and _normal(as_ours) == _normal(send_statement(queue, buckets)):
            found |= buckets
    return found


def receiver(policy: str) -> str:
    """Who our statement lets receive; empty if nobody."""
    principal = statements(policy).get(RECEIVE, {}).get("Principal", {})
    return str(principal.get("AWS", ""))


def exchanged(policy: str, ours: Mapping[str, Statement | None]) -> str:
    """The policy with our statements by Sid, or without them; it itself if that is no change."""
    present = statements(policy)
    changed = {
        sid: statement
        for sid, statement in ours.items()
        if _normal(present.get(sid)) != _normal(statement)
    }
    if not changed:
        return policy
    merged = {**present, **changed}
    left = [statement for statement in merged.values() if statement is not None]
    version = json.loads(policy).get("Version", "2012-10-17") if policy else "2012-10-17"
    return document(left, version=version) if left else ""


def document(listed: Sequence[Statement], *, version: str = "2012-10-17") -> str:
    """A policy as AWS and Alibaba Cloud take it."""
    return json.dumps({"Version": version, "Statement": list(listed)}, ensure_ascii=False)


def iam_statements(rules: Sequence[ReplicationRule], queues: Sequence[QueueAddress]) -> list[Any]:
    """What the service's role needs in AWS, for these rules and queues, and no more."""
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
        # Not limited to a prefix: a GET has none, so S3 would answer 403 for a missing object.
        *_allow(
            "S3SyncMissingIs404",
            ["s3:ListBucket"],
            {bucket_arn(rule.source.bucket, region=rule.source.region) for rule in rules},
        ),
        *_allow("S3SyncRestore", ["s3:RestoreObject"], _source_objects(restored)),
        *_allow("S3SyncReceive", list(RECEIVER_ACTIONS), {queue.arn for queue in queues}),
    ]


def ram_statements(rules: Sequence[ReplicationRule]) -> list[Any]:
    """What the service's RAM user needs in OSS, for these rules, and no more."""
    deleting = [rule for rule in rules if rule.delete_policy == DeletePolicy.MIRROR]
    sharing = [rule for rule in rules if rule.acl != ObjectAcl.DEFAULT]
    buckets = {_oss_bucket(rule.destination) for rule in rules}
    return [
        *_allow(
            "",
            [
                "oss:PutObject",
                "oss:PutObjectTagging",
                "oss:AbortMultipartUpload",
                # To leave a large object alone that is there already, and for `verify`.
                "oss:GetObject",
                "oss:GetObjectTagging",
            ],
            _replicas(rules),
        ),
        *_allow("", ["oss:DeleteObject"], _replicas(deleting)),
        *_allow("", ["oss:PutObjectAcl"], _replicas(sharing)),
        # To give up what an interrupted upload left.
        *_allow("", ["oss:ListMultipartUploads"], buckets),
    ]


def _allow(sid: str, actions: list[str], resources: Iterable[str]) -> list[Statement]:
    """A statement, unless it is about nothing. RAM knows no Sid."""
    listed = sorted(resources)
    named = {"Sid": sid} if sid else {}
    allowed = {**named, "Effect": "Allow", "Action": actions, "Resource": listed}
    return [allowed] if listed else []


def _source_objects(rules: Iterable[ReplicationRule]) -> set[str]:
    starts = set()
    for rule in rules:
        fit = _FIT_FOR_IAM.match(rule.source_prefix)
        assert fit, "it matches no character, too"
        starts.add(f"{bucket_arn(rule.source.bucket, region=rule.source.region)}/{fit[0]}")
    return {f"{_escaped(start)}*" for start in _shortest(starts)}


def _replicas(rules: Iterable[ReplicationRule]) -> set[str]:
    starts = set()
    for rule in rules:
        bucket = _oss_bucket(rule.destination)
        starts.add(f"{bucket}/{rule.destination_key(rule.source_prefix)}")
        if rule.key_policy == KeyPolicy.REWRITE:
            starts.add(f"{bucket}/{_rewritten_start(rule.destination_prefix)}")
    return {f"{start}*" for start in _shortest(starts)}


def _rewritten_start(prefix: str) -> str:
    """What the keys begin with that a rule rewrites."""
    planned = plan_key(f"{prefix}\0", policy=KeyPolicy.REWRITE, prefix=prefix)
    assert isinstance(planned, PlannedKey), "REWRITE leaves none out"
    return "".join(planned.key.rpartition(REWRITTEN_MARK)[:2])


def _source_buckets(statement: Statement) -> set[str]:
    condition = statement.get("Condition", {}).get("ArnEquals", {})
    return {arn.rpartition(":")[2] for arn in _listed(condition.get("aws:SourceArn", []))}


def _oss_bucket(destination: Destination) -> str:
    return f"acs:oss:*:*:{destination.bucket}"


def _shortest(starts: set[str]) -> list[str]:
    """Those that begin with no other."""
    return [
        start
        for start in starts
        if not any(start.startswith(other) and start != other for other in starts)
    ]


def _escaped(arn: str) -> str:
    """In IAM's policies these three mean something else, unless they are written so."""
    return "".join(f"${{{sign}}}" if sign in "$*?" else sign for sign in arn)


def _normal(value: Any) -> Any:
    """The same for two forms of one statement: AWS has a list of one as that one."""
    if isinstance(value, dict):
        return {name: _normal(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted(value, key=str) if len(value) != 1 else value[0]
    return value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
