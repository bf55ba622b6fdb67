"""A set-up that works, made by `provision`, in which a test breaks one thing."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from replication.models import (
    Destination,
    EventQueue,
    Heartbeat,
    LoopKind,
    ReplicationRule,
    Source,
)
from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.policies import a_user_who_may
from tests.support.road import OSS_REGION

# Only the stand-in needs them: in AWS, the actions without Batch cover the batches.
BATCHES = {"sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
SERVICE_ACTIONS = [
    *("s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:RestoreObject"),
    *("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    *("sqs:ReceiveMessage", *sorted(BATCHES)),
]


@dataclass(frozen=True)
class Report:
    """What doctor reported: its exit status and its findings."""

    status: int
    findings: list[dict[str, Any]]

    @property
    def bad(self) -> list[dict[str, Any]]:
        """All findings that did not pass, except checks that were skipped because of another."""
        return [
            each
            for each in self.findings
            if each["level"] != "pass" and "not checked: " not in each["found"]
        ]

    def of(self, check: str) -> list[str]:
        """The findings of this check, as `level: found`."""
        return [f"{e['level']}: {e['found']}" for e in self.findings if e["check"] == check]


def doctor(*arguments: str) -> Report:
    """Run the command."""
    out = io.StringIO()
    status = 0
    try:
        call_command("doctor", "--json", *arguments, stdout=out)
    except SystemExit as leaving:
        status = int(str(leaving.code))
    except CommandError as error:
        return Report(error.returncode, [{"level": "fail", "check": "", "found": str(error)}])
    return Report(status, json.loads(out.getvalue())["findings"])


@dataclass
class Green:
    """A set-up that works, and ways to break it."""

    aws: MiniStack
    oss: OssServer
    rule: ReplicationRule
    queue: EventQueue
    patch: pytest.MonkeyPatch

    @property
    def source(self) -> Source:
        return self.rule.source

    @property
    def destination(self) -> Destination:
        return self.rule.destination

    @property
    def s3(self) -> Any:
        return self.aws.client("s3")

    @property
    def sqs(self) -> Any:
        return self.aws.client("sqs")

    def change(self, row: Any, **fields: Any) -> None:
        """Change fields of a row in the database."""
        type(row).objects.filter(pk=row.pk).update(**fields)
        row.refresh_from_db()

    def put(self, key: str = "a.txt", **arguments: Any) -> None:
        self.s3.put_object(Bucket=self.source.bucket, Key=key, Body=b"content", **arguments)

    def works_as_user_without(self, *actions: str) -> None:
        """Give source and queue a profile that has the service's rights except these."""
        rights = [action for action in SERVICE_ACTIONS if action not in actions]
        rights += [f"{action}Batch" for action in rights if action in BATCHES]
        profile = a_user_who_may(self.aws, rights, self.patch)
        self.change(self.source, credential_profile=profile)
        self.change(self.queue, credential_profile=profile)

    def set_profile(self, name: str, **values: str) -> None:
        """Set these values of a credential profile in the environment."""
        for value, text in values.items():
            self.patch.setenv(f"S3SYNC_PROFILE_{name.upper()}_{value.upper()}", text)

    def set_queue(self, **attributes: str) -> None:
        """Set attributes of the queue."""
        self.sqs.set_queue_attributes(QueueUrl=self.queue.url, Attributes=attributes)

    def set_notification(self, **changed: Any) -> None:
        """Change the only entry of the bucket's notifications."""
        bucket = self.source.bucket
        present = self.s3.get_bucket_notification_configuration(Bucket=bucket)
        (entry,) = present["QueueConfigurations"]
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={"QueueConfigurations": [{**entry, **changed}]},
        )


@pytest.fixture
def green(
    db: None, aws: MiniStack, oss: OssServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Green]:
    """A rule that mirrors all deletes, with a queue that was just polled."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    name = f"d{uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=name)
    source = Source.objects.create(
        name="photos-s3", bucket=name, region=aws.region, endpoint_url=aws.endpoint_url
    )
    destination = Destination.objects.create(
        name="photos-oss",
        bucket="replica",
        endpoint=oss.endpoint,
        region=OSS_REGION,
        credential_profile="oss",
    )
    rule = ReplicationRule.objects.create(
        name="photos", source=source, destination=destination, delete_policy="mirror"
    )
    call_command("provision", "--queue", name, "--apply", stdout=io.StringIO())
    EventQueue.objects.update(last_polled_at=Now())
    for kind in LoopKind:
        Heartbeat.objects.create(kind=kind, asked_at=Now(), started_at=Now(), beat_at=Now())
    green = Green(aws, oss, rule, EventQueue.objects.get(), monkeypatch)
    green.set_profile("oss", access_key_id=OSS_KEY_ID, access_key_secret=OSS_KEY_SECRET)
    yield green
    green.s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={})


Break = Callable[[Green], object]
