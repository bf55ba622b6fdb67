"""Set-ups with one fault each: doctor reports that fault with its fix, and nothing else."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now

from replication.models import Heartbeat, LoopKind
from replication.tools.provisioning.notifications import OBJECT_EVENTS
from sandbox.oss import Denial, Fault
from tests.support.environment import OSS_KEY_ID
from tests.tools.doctor.conftest import Break, Green, doctor

HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Broken:
    """A fault, and what doctor must report."""

    name: str
    how: Break
    check: str
    found: str
    fix: str
    level: str = "fail"


def denied(*actions: str, **rule: Any) -> Break:
    """The RAM user may not do this."""

    def deny(green: Green) -> None:
        green.change(green.rule, **rule)
        green.oss.deny(Denial(actions=actions))

    return deny


def without(*actions: str) -> Break:
    """The IAM user may not do this."""
    return lambda green: green.works_as_user_without(*actions)


def destination(**fields: Any) -> Break:
    return lambda green: green.change(green.destination, **fields)


def source(**fields: Any) -> Break:
    return lambda green: green.change(green.source, **fields)


def rule(**fields: Any) -> Break:
    return lambda green: green.change(green.rule, **fields)


def queue(**fields: Any) -> Break:
    return lambda green: green.change(green.queue, **fields)


def queue_has(**attributes: str) -> Break:
    return lambda green: green.set_queue(**attributes)


def notification(**changed: Any) -> Break:
    return lambda green: green.set_notification(**changed)


def both(*breaks: Break) -> Break:
    def all_of(green: Green) -> None:
        for each in breaks:
            each(green)

    return all_of


# -- the service ---------------------------------------------------------------------------------


def is_silent(kind: LoopKind) -> Break:
    return lambda green: Heartbeat.objects.filter(kind=kind).delete()


def not_migrated(green: Green) -> None:
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("replication")
    MigrationRecorder(connection).record_unapplied(app, newest)


SERVICE = [
    Broken("no lane", is_silent(LoopKind.LANE), "lanes", "No lane is alive", "manage.py qcluster"),
    Broken(
        "no poller",
        is_silent(LoopKind.POLLER),
        "pollers",
        "No poller is alive",
        "manage.py pollsqs",
    ),
    Broken(
        "not migrated",
        not_migrated,
        "migrations",
        "1 migrations are not applied",
        "manage.py migrate",
    ),
    Broken(
        "parked rule",
        rule(parked_at=Now(), parked_code="destination_kms"),
        "status",
        "Rule photos was parked",
        "Fix the cause that is named",
        level="warn",
    ),
    Broken(
        "no rule",
        rule(enabled=False),
        "rules",
        "there is no enabled rule",
        "manage.py applyrules",
        level="warn",
    ),
]

# -- the source ----------------------------------------------------------------------------------


def wrong_secret(green: Green) -> None:
    green.works_as_user_without()
    green.set_profile(green.source.credential_profile, access_key_secret="wrong")


def versions_without_right(green: Green) -> None:
    green.s3.put_bucket_versioning(
        Bucket=green.source.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    green.put()
    green.works_as_user_without("s3:GetObjectVersion")


def with_an_object(then: Break) -> Break:
    def broken(green: Green) -> None:
        green.put()
        then(green)

    return broken


SOURCE = [
    Broken(
        "region that is none",
        source(region="us east 1"),
        "address",
        "A region looks like ap-east-1",
        "Correct the source's region in the admin or in the rules file",
    ),
    Broken(
        "host that boto3 does not take",
        source(endpoint_url="http://my_minio:9000"),
        "address",
        "boto3 does not accept the host name 'my_minio'",
        "Correct the source's endpoint URL",
    ),
    Broken(
        "no such bucket",
        source(bucket="not-to-be-found"),
        "source.read",
        "The source bucket does not exist",
        "Check the source's bucket name",
    ),
    Broken(
        "may not list",
        without("s3:ListBucket"),
        "source.list",
        "S3 answers 403, not 404, for a missing object, so no delete is ever mirrored",
        "Grant s3:ListBucket on arn:aws:s3:::",
    ),
    Broken(
        "may not read",
        with_an_object(without("s3:GetObject")),
        "source.read",
        "'a.txt' may not be read",
        "Grant s3:GetObject",
    ),
    Broken(
        "may not read, and there is no object",
        without("s3:GetObject"),
        "source.missing",
        "S3 answers 403, not 404, for a missing object, so no delete is mirrored",
        "without the condition s3:prefix",
    ),
    Broken(
        "may not read tags",
        with_an_object(without("s3:GetObjectTagging")),
        "source.tags",
        "so replicas have no tags",
        "Grant s3:GetObjectTagging on arn:aws:s3:::",
        level="warn",
    ),
    Broken(
        "may not read versions",
        versions_without_right,
        "source.versions",
        "no large object is copied",
        "Grant s3:GetObjectVersion on",
    ),
    Broken(
        "may not restore",
        both(rule(archive_policy="restore"), without("s3:RestoreObject")),
        "source.restore",
        "the rule restores archived objects, but that is denied",
        "Grant s3:RestoreObject on",
    ),
    Broken(
        "canary that may not be put",
        both(rule(canary=True), without()),
        "source.canary",
        "the rule's canary '.s3sync-canary' may not be written",
        "Grant s3:PutObject on",
        level="warn",
    ),
    Broken(
        "canary that the filters leave out",
        rule(canary=True, exclude="**/.*"),
        "source.canary",
        "the rule's filters leave out its canary '.s3sync-canary'",
        "remove the glob of exclude",
    ),
    Broken(
        "wrong secret",
        wrong_secret,
        "credentials",
        "AWS accepts no credentials of profile",
        "Put the right access key behind the credential profile",
    ),
    Broken(
        "no such profile",
        both(source(credential_profile="emea"), queue(credential_profile="emea")),
        "credentials",
        "S3SYNC_PROFILE_EMEA_ACCESS_KEY_ID",
        "docs/guides/credentials.md",
    ),
    Broken(
        "no such host",
        source(endpoint_url="http://s3.ap-nowhere.invalid"),
        "reached",
        "DNS does not know the host s3.ap-nowhere.invalid",
        "Check the spelling of the endpoint and of the region",
    ),
]

# -- queue and notification ----------------------------------------------------------------------


def no_policy(green: Green) -> None:
    green.set_queue(Policy="")


def policy_for_another_bucket(green: Green) -> None:
    attributes = green.sqs.get_queue_attributes(QueueUrl=green.queue.url, AttributeNames=["Policy"])
    policy = attributes["Attributes"]["Policy"]
    green.set_queue(Policy=policy.replace(f":::{green.source.bucket}", ":::another-bucket"))


def no_notification(green: Green) -> None:
    green.s3.put_bucket_notification_configuration(
        Bucket=green.source.bucket, NotificationConfiguration={}
    )


def dead_letter(green: Green) -> None:
    green.sqs.send_message(QueueUrl=f"{green.queue.url}-dead", MessageBody="given up")


def no_dead_letter_queue(green: Green) -> None:
    green.sqs.delete_queue(QueueUrl=f"{green.queue.url}-dead")


def dead_letters_are_kept_shortly(green: Green) -> None:
    green.sqs.set_queue_attributes(
        QueueUrl=f"{green.queue.url}-dead", Attributes={"MessageRetentionPeriod": "345600"}
    )


def gives_up_soon(green: Green) -> None:
    arn = f"arn:aws:sqs:us-east-1:{green.aws.account_id}:{green.queue.name}-dead"
    redrive = {"deadLetterTargetArn": arn, "maxReceiveCount": 3}
    green.set_queue(RedrivePolicy=json.dumps(redrive))


def only(prefix: str) -> dict[str, Any]:
    return {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}


QUEUE = [
    Broken(
        "no such queue",
        lambda green: green.sqs.delete_queue(QueueUrl=green.queue.url),
        "queue.permissions",
        "there is no such queue in us-east-1",
        "Correct the queue's URL and region",
    ),
    *[
        Broken(
            f"may not {action}",
            without(action),
            "queue.permissions",
            f"SQS denies {action}",
            f"Grant {action} on the queue to the credential profile",
        )
        for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
    ],
    Broken(
        "small messages",
        queue_has(MaximumMessageSize="4096"),
        "queue.size",
        "up to 4,096 bytes, but S3's events have up to 65,536",
        "Set the queue's MaximumMessageSize to 65,536",
    ),
    Broken(
        "no policy",
        no_policy,
        "queue.policy",
        "has no policy, so S3 may not send to it",
        "Run `manage.py provision --apply`; or, in the queue's policy, allow sqs:SendMessage",
    ),
    Broken(
        "policy for another bucket",
        policy_for_another_bucket,
        "queue.policy",
        "does not let S3 send for the bucket",
        "aws:SourceArn arn:aws:s3:::",
    ),
    Broken(
        "no notification",
        no_notification,
        "notification",
        "the bucket notifies no queue that is polled",
        "Run `manage.py provision --apply`",
    ),
    Broken(
        "notification of too few keys",
        notification(Filter=only("2026/")),
        "notification",
        "only of keys that begin with '2026/', but the rule is for all keys",
        "Widen the filter",
    ),
    Broken(
        "notification without the deletes of a lifecycle rule",
        notification(Events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]),
        "notification",
        "of all of s3:LifecycleExpiration:*",
        "Add them by `manage.py provision --apply`",
    ),
    Broken(
        "notification without the tags",
        notification(Events=list(OBJECT_EVENTS)),
        "notification",
        "tags that change after the upload reach the replica only when its object is next copied",
        "Add s3:ObjectTagging:* by `manage.py provision --apply`",
        level="warn",
    ),
    Broken(
        "queue that is not polled",
        queue(enabled=False),
        "notification",
        "no queue in us-east-1 is polled",
        "enable the queue",
    ),
    Broken(
        "FIFO queue",
        lambda green: green.change(green.queue, url=f"{green.queue.url}.fifo"),
        "address",
        "S3 can't notify a FIFO queue",
        "Name a standard queue",
    ),
    Broken(
        "region other than in the URL",
        queue(url="https://sqs.eu-west-1.amazonaws.com/123456789012/s3sync"),
        "address",
        "The queue's URL is in eu-west-1: set the region to eu-west-1",
        "Correct the queue's region",
    ),
    Broken(
        "no dead-letter queue",
        queue_has(RedrivePolicy=""),
        "queue.dead-letters",
        "the queue has no dead-letter queue",
        "Set a redrive policy",
        level="warn",
    ),
    Broken(
        "missing dead-letter queue",
        no_dead_letter_queue,
        "queue.dead-letters",
        "the dead-letter queue does not exist",
        "correct the redrive policy",
        level="warn",
    ),
    Broken(
        "dead letters",
        dead_letter,
        "queue.dead-letters",
        "1 messages are in the dead-letter queue",
        "Start DLQ redrive",
        level="warn",
    ),
    Broken(
        "dead letters are kept as long as others",
        dead_letters_are_kept_shortly,
        "queue.dead-letters",
        "their age counts from the first queue",
        "retention to 14 days",
        level="warn",
    ),
    Broken(
        "gives up soon",
        gives_up_soon,
        "queue.dead-letters",
        "move to the dead-letter queue after 3 receipts",
        "Raise maxReceiveCount",
        level="warn",
    ),
    Broken(
        "short visibility timeout",
        queue_has(VisibilityTimeout="5"),
        "queue.attributes",
        "delivered again after 5 s",
        "visibility timeout to 10 s",
        level="warn",
    ),
    Broken(
        "never polled",
        queue(last_polled_at=None),
        "queue.receive",
        "the queue has never been polled",
        "Start `manage.py qcluster`",
        level="unknown",
    ),
    Broken(
        "last poll failed",
        queue(last_error="AccessDenied: no", last_error_at=Now()),
        "queue.receive",
        "the last poll failed: AccessDenied: no",
        "other credentials",
        level="warn",
    ),
]

# -- the destination -----------------------------------------------------------------------------


def wrong_secret_in_oss(green: Green) -> None:
    green.set_profile("mistyped", access_key_id=OSS_KEY_ID, access_key_secret="wrong")
    green.change(green.destination, credential_profile="mistyped")


DESTINATION = [
    Broken(
        "no such bucket in OSS",
        destination(bucket="not-to-be-found"),
        "destination.write",
        "The destination bucket does not exist",
        "correct the destination's bucket name",
    ),
    Broken(
        "may not write",
        denied("oss:PutObject"),
        "destination.write",
        "OSS denies permission to write",
        "Grant oss:PutObject on acs:oss:*:*:replica/*",
    ),
    Broken(
        "may not tag",
        denied("oss:PutObjectTagging"),
        "destination.tags",
        "objects with tags are not copied",
        "Grant oss:PutObjectTagging on",
    ),
    Broken(
        "may not delete tags",
        denied("oss:DeleteObjectTagging"),
        "destination.tags",
        "an object whose tags are deleted is copied again in full",
        "Grant oss:DeleteObjectTagging on",
        level="warn",
    ),
    Broken(
        "may not set the ACL",
        denied("oss:PutObjectAcl", acl="public-read"),
        "destination.acl",
        "the rule makes replicas public-read",
        "Grant oss:PutObjectAcl on",
    ),
    Broken(
        "may not delete",
        denied("oss:DeleteObject"),
        "destination.delete",
        "objects may not be deleted; the object '.s3sync-key/doctor/",
        "Grant oss:DeleteObject on",
    ),
    Broken(
        "may not delete, and need not",
        denied("oss:DeleteObject", delete_policy="keep"),
        "destination.delete",
        "the object '.s3sync-key/doctor/photos' (43 bytes) stays, and the next run writes it again",
        "grant oss:DeleteObject on acs:oss:*:*:replica/.s3sync-key/doctor/photos only",
        level="warn",
    ),
    Broken(
        "may not read replicas",
        denied("oss:GetObject"),
        "destination.read",
        "`verify` can't compare",
        "Grant oss:GetObject on",
        level="warn",
    ),
    Broken(
        "may not read replicas' tags",
        denied("oss:GetObjectTagging"),
        "destination.read",
        "tags of replicas may not be read",
        "Grant oss:GetObjectTagging on",
        level="warn",
    ),
    Broken(
        "may not abort uploads",
        denied("oss:AbortMultipartUpload"),
        "destination.parts",
        "the parts of interrupted uploads stay and are billed",
        "Grant oss:AbortMultipartUpload on",
        level="warn",
    ),
    Broken(
        "wrong secret in OSS",
        wrong_secret_in_oss,
        "destination.write",
        "OSS rejects the destination's credentials",
        "Correct the AccessKey",
    ),
    Broken(
        "deleted access key",
        lambda green: green.oss.remove_key(OSS_KEY_ID),
        "destination.write",
        "InvalidAccessKeyId",
        "Correct the AccessKey",
    ),
    Broken(
        "no such profile in OSS",
        destination(credential_profile="nobody"),
        "credentials",
        "S3SYNC_PROFILE_NOBODY_ACCESS_KEY_ID",
        "docs/guides/credentials.md",
    ),
    Broken(
        "wrong region in the signature",
        destination(region="cn-beijing"),
        "destination.write",
        "endpoint or region is not the bucket's",
        "the OSS console shows for the bucket",
    ),
    Broken(
        "endpoint of another region",
        destination(endpoint="https://oss-cn-beijing.aliyuncs.com"),
        "address",
        "is in cn-beijing, but the destination's region is set to cn-hangzhou",
        "Correct the destination's endpoint",
    ),
    Broken(
        "endpoint of OSS as custom domain",
        destination(
            endpoint="https://oss-cn-hangzhou-internal.aliyuncs.com", addressing="custom_domain"
        ),
        "address",
        "is an address of OSS itself: choose 'virtual_host'",
        "Correct the destination's addressing",
    ),
    Broken(
        "bucket as a URL in OSS",
        destination(bucket="oss://replica"),
        "address",
        "Enter the bucket's name alone: replica.",
        "Correct the destination's bucket in the admin or in the rules file",
    ),
    Broken(
        "IPv6 address of OSS",
        destination(endpoint="http://[::1]:9000"),
        "address",
        "oss2 does not accept '::1'",
        "Correct the destination's endpoint",
    ),
    Broken(
        "KMS key that does not exist",
        rule(encryption="KMS", kms_key_id="no-such-key"),
        "destination.write",
        "KMS",
        "key",
    ),
    Broken(
        "wrong clock",
        lambda green: green.oss.set_clock_offset(HOUR_SECONDS),
        "clock",
        "s behind the clock of 127.0.0.1:",
        "Correct this host's clock",
    ),
    Broken(
        "slightly wrong clock",
        lambda green: green.oss.set_clock_offset(-120),
        "clock",
        "s ahead of the clock of 127.0.0.1:",
        "keep it synchronised by NTP",
        level="warn",
    ),
    Broken(
        "other bytes than were sent",
        lambda green: green.oss.add_fault(Fault(operation="PutObject", wrong_crc=True)),
        "destination.checksum",
        "OSS did not store the bytes that were sent",
        "Look for a proxy",
    ),
    Broken(
        "OSS is busy",
        lambda green: green.oss.add_fault(Fault(operation="PutObject", status=503)),
        "destination.write",
        "503 InternalError",
        "Run doctor again in a minute",
        level="unknown",
    ),
    Broken(
        "destination prefix that OSS can't have",
        rule(destination_prefix="/from-s3/"),
        "destination.key",
        "keys that OSS can't have",
        "Correct the rule's destination prefix",
    ),
]


@pytest.mark.parametrize(
    "broken", [*SERVICE, *SOURCE, *QUEUE, *DESTINATION], ids=lambda broken: broken.name
)
def test_doctor_reports_the_cause_with_its_fix_and_nothing_else(
    green: Green, broken: Broken
) -> None:
    broken.how(green)
    report = doctor("--profile", "default")
    assert [(each["level"], each["check"]) for each in report.bad] == [
        (broken.level, broken.check)
    ], report.bad
    (found,) = report.bad
    assert broken.found in found["found"]
    assert broken.fix in found["fix"]
    assert report.status == (1 if broken.level == "fail" else 0)


@pytest.mark.parametrize(
    "bucket", ["s3://photos", "photos/2026", "arn:aws:s3:us-east-1:123456789012:accesspoint/p"]
)
def test_doctor_names_a_bucket_that_is_older_than_the_check_of_its_name(
    green: Green, bucket: str
) -> None:
    green.change(green.source, bucket=bucket)
    report = doctor("--profile", "default")
    named = [each for each in report.bad if each["check"] == "address"]
    assert len(named) == 1
    assert "the source's bucket can't be used: " in named[0]["found"]
    assert not [each for each in report.bad if each["check"] == "incomplete"], report.bad
