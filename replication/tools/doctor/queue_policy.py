"""Whether a queue's policy lets S3 send for a bucket. Pure.

The policy is read for an operator's mistakes, not as IAM reads it: in an Allow, conditions other
than those on the sender's ARN and account are assumed to hold; a Deny with a condition is assumed
not to apply.
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

_ARN = "aws:sourcearn"
_ACCOUNT = "aws:sourceaccount"


def lets_s3_send(policy: str, *, bucket_arn: str, account: str) -> bool:
    """Whether S3 may send messages for this bucket of that account."""
    statements = _as_list(json.loads(policy).get("Statement", [])) if policy else []
    relevant = [each for each in statements if _concerns_sending(each)]
    if any(each["Effect"] == "Deny" and not each.get("Condition") for each in relevant):
        return False
    return any(
        each["Effect"] == "Allow" and _holds(each.get("Condition", {}), bucket_arn, account)
        for each in relevant
    )


def _concerns_sending(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = _as_list(principal.get("Service", [])) if isinstance(principal, dict) else []
    anyone = principal == "*" or (isinstance(principal, dict) and principal.get("AWS") == "*")
    actions = [action.lower() for action in _as_list(statement.get("Action", []))]
    return (anyone or "s3.amazonaws.com" in services) and any(
        fnmatchcase("sqs:sendmessage", action) for action in actions
    )


def _holds(condition: Mapping[str, Any], bucket_arn: str, account: str) -> bool:
    for wanted in condition.values():
        values = {name.lower(): _as_list(each) for name, each in wanted.items()}
        if not _matches(bucket_arn, values.get(_ARN)) or not _matches(
            account, values.get(_ACCOUNT)
        ):
            return False
    return True


def _matches(value: str, patterns: list[str] | None) -> bool:
    return patterns is None or any(fnmatchcase(value, str(pattern)) for pattern in patterns)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
