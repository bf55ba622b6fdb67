"""Whether a queue's policy lets S3 send for a bucket. Pure.

It is read for what an operator gets wrong, not as IAM reads it: conditions other than those on the
sender's ARN and account are taken to hold, and those of a Deny not to.
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

_ARN = "aws:sourcearn"
_ACCOUNT = "aws:sourceaccount"


def lets_s3_send(policy: str, *, bucket_arn: str, account: str) -> bool:
    """Whether S3 may send messages about this bucket of that account."""
    statements = _listed(json.loads(policy).get("Statement", [])) if policy else []
    about = [each for each in statements if _is_about_sending(each)]
    if any(each["Effect"] == "Deny" and not each.get("Condition") for each in about):
        return False
    return any(
        each["Effect"] == "Allow" and _holds(each.get("Condition", {}), bucket_arn, account)
        for each in about
    )


def _is_about_sending(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = _listed(principal.get("Service", [])) if isinstance(principal, dict) else []
    anybody = principal == "*" or (isinstance(principal, dict) and principal.get("AWS") == "*")
    actions = [action.lower() for action in _listed(statement.get("Action", []))]
    return (anybody or "s3.amazonaws.com" in services) and any(
        fnmatchcase("sqs:sendmessage", action) for action in actions
    )


def _holds(condition: Mapping[str, Any], bucket_arn: str, account: str) -> bool:
    for wanted in condition.values():
        values = {name.lower(): _listed(each) for name, each in wanted.items()}
        if not _matches(bucket_arn, values.get(_ARN)) or not _matches(
            account, values.get(_ACCOUNT)
        ):
            return False
    return True


def _matches(value: str, patterns: list[str] | None) -> bool:
    return patterns is None or any(fnmatchcase(value, str(pattern)) for pattern in patterns)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
