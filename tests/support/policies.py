"""IAM users of the AWS stand-in's account with the permissions that a test chooses."""

import json
from collections.abc import Sequence
from uuid import uuid4

import pytest

from sandbox.ministack import MiniStack


def a_user_who_may(aws: MiniStack, actions: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a user with these permissions alone; returns the name of its credential profile."""
    iam, name = aws.client("iam"), f"u{uuid4().hex[:12]}"
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    prefix = f"S3SYNC_PROFILE_{name.upper()}_ACCESS_KEY"
    monkeypatch.setenv(f"{prefix}_ID", key["AccessKeyId"])
    monkeypatch.setenv(f"{prefix}_SECRET", key["SecretAccessKey"])
    return name
