"""The files under deploy/ are valid and make what `provision` makes, so they can't drift apart."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import cfnlint
import hcl2
import pytest
from django.conf import settings

from replication.models import Destination, EventQueue, ReplicationRule, Source
from replication.tools.provisioning import Aws, plan_all
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.notifications import EVENTS
from replication.tools.provisioning.policies import (
    OWNER,
    SEND,
    Statement,
    iam_statements,
    owner_statement,
    send_statement,
)
from replication.tools.provisioning.queues import (
    LARGEST_EVENT_BYTES,
    dead_letter_attributes,
    differences,
    queue_attributes,
)
from replication.tools.provisioning.steps import PutNotifications
from sandbox.ministack import MiniStack
from tests.support.processes import eventually

DEPLOY = Path(settings.BASE_DIR) / "deploy"
TEMPLATE = (DEPLOY / "cloudformation" / "s3sync.yaml").read_text()


def the_rules(*, region: str, buckets: tuple[str, ...]) -> list[ReplicationRule]:
    """Rules for all keys of these buckets, with restores and canaries; not saved."""
    destination = Destination(name="d", bucket="d", endpoint="https://o", region="cn-hangzhou")
    return [
        ReplicationRule(
            name=bucket,
            source=Source(name=bucket, bucket=bucket, region=region),
            destination=destination,
            archive_policy="restore",
            canary=True,
        )
        for bucket in buckets
    ]


def save(rules: list[ReplicationRule]) -> None:
    for rule in rules:
        rule.source.save()
        rule.destination.save()
        rule.source, rule.destination = rule.source, rule.destination  # now with their primary keys
        rule.save()


def test_the_template_is_valid_for_cloudformation() -> None:
    assert cfnlint.lint(TEMPLATE) == []


@pytest.mark.django_db
def test_a_stack_of_the_template_leaves_only_the_notifications_to_provision(
    aws: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    name = f"stack-{uuid4().hex[:12]}"
    buckets = (f"{name}-a", f"{name}-b")
    for bucket in buckets:
        aws.client("s3").create_bucket(Bucket=bucket)
    parameters = {
        "QueueName": name,
        "SourceBucketArns": ",".join(f"arn:aws:s3:::{bucket}" for bucket in buckets),
        "MayRestore": "true",
        "CanaryArns": ",".join(f"arn:aws:s3:::{bucket}/.s3sync-canary" for bucket in buckets),
    }
    formation = aws.client("cloudformation")
    formation.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )

    def outputs() -> dict[str, str]:
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}

    made = eventually(outputs)
    rules = the_rules(region=aws.region, buckets=buckets)
    save(rules)
    url = f"{aws.endpoint_url}/{aws.account_id}/{name}"
    EventQueue.objects.create(name=name, url=url, region=aws.region)
    (plan,) = plan_all(Aws(profile=""), queue_name=name, source_names=[], receiver_arn="")
    assert [type(step.change) for step in plan.steps] == [PutNotifications, PutNotifications]

    address = QueueAddress(aws.region, aws.account_id, name)
    for queue, wanted in (
        (address, queue_attributes(address)),
        (address.dead_letters, dead_letter_attributes()),
    ):
        found_url = aws.client("sqs").get_queue_url(QueueName=queue.name)["QueueUrl"]
        answer: Any = aws.client("sqs").get_queue_attributes(
            QueueUrl=found_url, AttributeNames=["All"]
        )
        assert differences(answer["Attributes"], wanted) == {}
    document = aws.client("iam").get_policy_version(
        PolicyArn=made["ServicePolicyArn"], VersionId="v1"
    )["PolicyVersion"]["Document"]
    assert document["Statement"] == iam_statements(rules, [address])


# -- Terraform ---------------------------------------------------------------------------------

QUEUE = QueueAddress("ap-east-1", "123456789012", "s3sync")
BUCKETS = ("documents", "photos")

# The values of the references in the files, for these buckets.
REFERENCES: dict[str, Any] = {
    "aws_sqs_queue.events.arn": QUEUE.arn,
    "data.aws_partition.current.partition": "aws",
    "data.aws_caller_identity.current.account_id": QUEUE.account,
    "local.buckets": [f"arn:aws:s3:::{bucket}" for bucket in BUCKETS],
    "local.objects": [f"arn:aws:s3:::{bucket}/*" for bucket in BUCKETS],
    "var.canary_arns": [f"arn:aws:s3:::{bucket}/.s3sync-canary" for bucket in BUCKETS],
}
_REFERENCE = re.compile(r"\$\{([^{}]+)\}")


@cache
def terraform(file: str) -> dict[str, list[dict[str, Any]]]:
    text = (DEPLOY / "terraform" / file).read_text()
    options = hcl2.SerializationOptions(
        with_comments=False, explicit_blocks=False, strip_string_quotes=True
    )
    parsed: dict[str, list[dict[str, Any]]] = hcl2.loads(text, serialization_options=options)
    return parsed


def block(file: str, kind: str, *labels: str) -> dict[str, Any]:
    """The block of this kind with these labels."""
    for found in terraform(file)[kind]:
        inner: Any = found
        for label in labels:
            inner = inner.get(label, {})
        if inner:
            return dict(inner)
    raise AssertionError(f"{file} has no {kind} {labels}")


def value(written: Any) -> Any:
    if isinstance(written, list):
        return [value(each) for each in written]
    if whole := _REFERENCE.fullmatch(written):
        return REFERENCES[whole[1]]
    return _REFERENCE.sub(lambda found: REFERENCES[found[1]], written)


def statement(written: dict[str, Any]) -> Statement:
    """A statement in the JSON that the provider makes of it."""
    principals = {
        each["type"]: value(each["identifiers"]) for each in written.get("principals", [])
    }
    conditions = {
        each["test"]: {each["variable"]: value(each["values"])}
        for each in written.get("condition", [])
    }
    return {
        "Sid": written["sid"],
        "Effect": "Allow",
        **({"Principal": principals} if principals else {}),
        "Action": value(written["actions"]),
        "Resource": value(written["resources"]),
        **({"Condition": conditions} if conditions else {}),
    }


def in_lists(found: Any) -> Any:
    """The same with lists in place of single values, as the provider writes it."""
    if isinstance(found, dict):
        return {
            key: each if key in {"Sid", "Effect"} else in_lists(each) for key, each in found.items()
        }
    return found if isinstance(found, list) else [found]


def test_terraform_grants_the_queue_and_the_role_what_provision_grants() -> None:
    queue = block("main.tf", "data", "aws_iam_policy_document", "queue")
    assert [statement(each) for each in queue["statement"]] == [
        in_lists({**owner_statement(QUEUE), "Sid": "AccountOwnsQueue"}),
        in_lists({**send_statement(QUEUE, BUCKETS), "Sid": "BucketsSend"}),
    ]
    assert {"AccountOwnsQueue", "BucketsSend"} & {
        OWNER,
        SEND,
    } == set()  # --destroy would remove these

    service = block("main.tf", "data", "aws_iam_policy_document", "service")
    restore, canary = (each["statement"] for each in service["dynamic"])
    assert "may_restore" in restore["for_each"]
    assert "canary_arns" in canary["for_each"]
    optional = [each["content"][0] for each in (restore, canary)]
    found = [statement(each) for each in (*service["statement"], *optional)]
    rules = the_rules(region=QUEUE.region, buckets=BUCKETS)
    by_sid = {each["Sid"]: each for each in found}
    assert by_sid == {each["Sid"]: each for each in iam_statements(rules, [QUEUE])}

    (locals_,) = terraform("main.tf")["locals"]
    assert "var.source_buckets" in locals_["buckets"]
    assert "local.buckets" in locals_["objects"]


def test_terraform_and_provision_make_equal_queues() -> None:
    queue = block("main.tf", "resource", "aws_sqs_queue", "events")
    dead = block("main.tf", "resource", "aws_sqs_queue", "dead_letters")
    names = {
        "VisibilityTimeout": "visibility_timeout_seconds",
        "ReceiveMessageWaitTimeSeconds": "receive_wait_time_seconds",
        "MessageRetentionPeriod": "message_retention_seconds",
        "SqsManagedSseEnabled": "sqs_managed_sse_enabled",
    }
    wanted = queue_attributes(QUEUE)
    redrive = json.loads(wanted.pop("RedrivePolicy"))
    assert f"maxReceiveCount = {redrive['maxReceiveCount']}" in re.sub(
        " +", " ", str(queue["redrive_policy"])
    )
    assert int(queue["max_message_size"]) >= LARGEST_EVENT_BYTES
    for found, attributes in ((queue, wanted), (dead, dead_letter_attributes())):
        assert {name: str(found[names[name]]).lower() for name in attributes} == attributes


def test_terraform_replaces_the_notifications_only_of_buckets_that_are_named_for_it() -> None:
    notification = block("notification.tf", "resource", "aws_s3_bucket_notification", "events")
    assert notification["queue"][0]["events"] == list(EVENTS)
    assert not notification["queue"][0]["id"].startswith("s3sync-")  # --destroy would remove it
    assert "replace_notifications_of" in notification["for_each"]
    assert block("variables.tf", "variable", "replace_notifications_of")["default"] == []
