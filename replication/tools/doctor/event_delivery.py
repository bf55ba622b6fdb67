"""How a rule hears of its objects: the bucket's notification, the queue's policy, or whoever posts
to the API."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from replication.errors import ReplicationError
from replication.models import (
    ArchivePolicy,
    DeletePolicy,
    EventQueue,
    ReplicationRule,
    SourceKind,
)
from replication.monitoring.status.problems import in_words
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Refusal, Why
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    failed,
    from_error,
    passed,
    unknown,
    warned,
)
from replication.tools.doctor.queue_policy import lets_s3_send
from replication.tools.provisioning import ProvisioningError
from replication.tools.provisioning.arns import QueueAddress, bucket_arn, queue_address
from replication.tools.provisioning.notifications import (
    EVENTS,
    KeyRange,
    Notification,
    has_event,
    read_notifications,
    wanted_range,
)

# A function that posted nothing for so long is not "lately heard from".
LATELY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Heard:
    """How long ago a rule's newest job of each origin was made; None if there is none lately.

    And how long ago a Lambda function posted anything, of whatever rule; None if none ever did.
    """

    event_seconds: float | None = None
    api_seconds: float | None = None
    lambda_seconds: float | None = None


def examine_announcements(
    rule: ReplicationRule, queues: Sequence[EventQueue], heard: Heard, *, administrator: str
) -> Findings:
    """Whether S3, or somebody else, tells us of the rule's objects.

    Args:
        queues: those that are polled.
        administrator: the credential profile that reads the bucket's notifications and the queue's
            policy; empty: the source's and the queue's own, which need not be allowed to.
    """
    if rule.source.kind == SourceKind.HTTP:
        yield _of_web_server(rule, heard)
        return
    try:
        present = aws.notifications(
            rule.source, profile=administrator or rule.source.credential_profile
        )
    except Refusal as refusal:
        if refusal.why is not Why.MISSING:  # said where the source is read
            yield _unseen(rule, queues, heard, refusal)
        return
    except ReplicationError as error:
        yield from_error(Check.NOTIFICATION, error)
        return
    polled = _by_arn(queues)
    told = [each for each in read_notifications(present) if each.keys.meets(_keys(rule))]
    to_us = [each for each in told if each.target_arn in polled]
    if not to_us:
        yield _told_to_others(
            rule, told, queues, heard, has_bridge="EventBridgeConfiguration" in present
        )
        return
    yield _complete(rule, to_us)
    for arn in sorted({each.target_arn for each in to_us}):
        yield from _policy(rule, *polled[arn], administrator=administrator)


def _of_web_server(rule: ReplicationRule, heard: Heard) -> Finding:
    if not rule.source.domains.all():
        return failed(
            Check.API,
            f"the source {rule.source.name} has no domain, so nobody can announce its objects",
            fix="Add the domain under which its objects are downloaded to the source; callers of "
            "/api/v1/events name it.",
        )
    return _by_api(heard, what="A web server announces nothing by itself")


def _complete(rule: ReplicationRule, entries: Sequence[Notification]) -> Finding:
    """Whether entries that go to us tell of all that the rule needs to hear."""
    keys, name = _keys(rule), entries[0].target_arn.rpartition(":")[2]
    covering = [each for each in entries if each.keys.covers(keys)]
    if not covering:
        told = "; ".join(str(each.keys) for each in entries)
        return failed(
            Check.NOTIFICATION,
            f"the bucket notifies {name} of {told} alone, and the rule is for {keys}",
            fix="Widen the filter of that notification, or have `manage.py provision --apply` add "
            "what is missing.",
        )
    missing = [
        event for event in _needed(rule) if not any(has_event(each, event) for each in covering)
    ]
    if missing:
        return failed(
            Check.NOTIFICATION,
            f"the bucket notifies {name}, but not of all of {', '.join(missing)}: these changes "
            "are not followed",
            fix="Have `manage.py provision --apply` add them; or add them to the entry "
            f"{covering[0].id!r}, if it is yours to keep.",
        )
    return passed(Check.NOTIFICATION, f"the bucket notifies {name} of all that the rule is for")


def _policy(
    rule: ReplicationRule, row: EventQueue, address: QueueAddress, *, administrator: str
) -> Findings:
    """Whether the queue takes what the bucket sends."""
    try:
        attributes = aws.queue_attributes(row, profile=administrator or row.credential_profile)
    except Refusal as refusal:
        if refusal.why is not Why.MISSING:  # said where the queue is looked at
            yield unknown(
                Check.QUEUE_POLICY,
                f"the policy of {address.name} can't be read: {refusal}",
                fix=_as_administrator("sqs:GetQueueAttributes", refusal),
            )
        return
    except ReplicationError as error:
        yield from_error(Check.QUEUE_POLICY, error)
        return
    bucket, policy = rule.source.bucket, attributes.get("Policy", "")
    arn = bucket_arn(bucket, region=rule.source.region)
    if lets_s3_send(policy, bucket_arn=arn, account=address.account):
        yield passed(Check.QUEUE_POLICY, f"S3 may send to {address.name} for {bucket}")
        return
    yield failed(
        Check.QUEUE_POLICY,
        f"the policy of {address.name} does not let S3 send for the bucket {bucket}: its events "
        "are lost"
        if policy
        else f"{address.name} has no policy, so S3 may not send to it: the events of the bucket "
        f"{bucket} are lost",
        fix="Run `manage.py provision --apply`; or allow sqs:SendMessage to s3.amazonaws.com on "
        f"{address.arn}, with ArnEquals aws:SourceArn {arn} and StringEquals aws:SourceAccount "
        f"{address.account}, in the queue's policy.",
    )


def _told_to_others(
    rule: ReplicationRule,
    told: Sequence[Notification],
    queues: Sequence[EventQueue],
    heard: Heard,
    *,
    has_bridge: bool,
) -> Finding:
    functions = [each for each in told if ":lambda:" in each.target_arn]
    if functions:
        name = functions[0].target_arn.rpartition(":")[2]
        return _by_api(heard, what=f"The bucket tells the function {name}")
    topics = [each.target_arn for each in told if ":sns:" in each.target_arn]
    if topics or has_bridge:
        return _by_detour(heard, via=topics[0] if topics else "EventBridge")
    if heard.api_seconds is not None:
        return _by_api(heard, what="The bucket notifies nobody")
    region = rule.source.region
    near = [row.name for row in queues if row.region == region]
    other = f"; it notifies {told[0].target_arn}, which is not polled" if told else ""
    if not near:
        return failed(
            Check.NOTIFICATION,
            f"no queue in {region} is polled, and a bucket notifies those of its own region "
            f"alone{other}",
            fix="Run `manage.py provision --queue NAME --apply`, which makes one and has the "
            "bucket notify it; or enable the queue that there is.",
        )
    return failed(
        Check.NOTIFICATION,
        f"the bucket notifies no queue that is polled{other}: no change is heard of",
        fix=f"Run `manage.py provision --apply`: it has the bucket notify {near[0]}, beside what "
        "is there.",
    )


def _unseen(
    rule: ReplicationRule, queues: Sequence[EventQueue], heard: Heard, refusal: Refusal
) -> Finding:
    """What can be said of a notification that may not be read."""
    region = rule.source.region
    if heard.api_seconds is None and not any(row.region == region for row in queues):
        return _told_to_others(rule, [], queues, heard, has_bridge=False)
    return unknown(
        Check.NOTIFICATION,
        f"the bucket's notification can't be read: {refusal}; {_last(heard)}",
        fix=_as_administrator("s3:GetBucketNotification", refusal),
    )


def _by_detour(heard: Heard, *, via: str) -> Finding:
    if heard.event_seconds is not None and heard.event_seconds < LATELY_SECONDS:
        return passed(Check.NOTIFICATION, f"the bucket tells {via}; {_last(heard)}")
    return unknown(
        Check.NOTIFICATION,
        f"the bucket tells {via}; whether that reaches a queue of ours can't be seen; "
        f"{_last(heard)}",
        fix="Put an object, and look whether it arrives. If not, see docs/guides/provisioning.md, "
        "“Another receiver already gets the events”.",
    )


def _by_api(heard: Heard, *, what: str) -> Finding:
    """Whether whoever posts to the API was heard from lately."""
    if heard.api_seconds is not None and heard.api_seconds < LATELY_SECONDS:
        ago = in_words(heard.api_seconds)
        return passed(Check.API, f"{what}; an event of the rule was posted {ago} ago")
    when = "" if heard.api_seconds is None else f" for {in_words(heard.api_seconds)}"
    return warned(
        Check.API,
        f"{what}, and no event of the rule was posted to /api/v1/events{when}; {_of_lambda(heard)}",
        fix="If nothing changed meanwhile, nothing. Else try the Lambda function as "
        "deploy/lambda/README.md says; its log in CloudWatch has why it is refused (S3SYNC_URL, "
        "S3SYNC_KEY), and its on-failure destination what it lost.",
    )


def _of_lambda(heard: Heard) -> str:
    if heard.lambda_seconds is None:
        return "no Lambda function has ever posted one"
    return f"a Lambda function last posted one {in_words(heard.lambda_seconds)} ago"


def _last(heard: Heard) -> str:
    if heard.event_seconds is None:
        return "no event of the rule has come lately"
    return f"the last event of the rule came {in_words(heard.event_seconds)} ago"


def _as_administrator(action: str, refusal: Refusal) -> str:
    if refusal.why is not Why.DENIED:
        return "Mend what it says, or look at it in the AWS console."
    return (
        f"The service does not need {action}. To have it looked at, name a credential profile that "
        "has it with --profile, or run `manage.py provision` as an administrator."
    )


def _needed(rule: ReplicationRule) -> list[str]:
    """Of the events that a bucket can tell, those that the rule acts on."""
    left_out = set()
    if rule.delete_policy != DeletePolicy.MIRROR:
        left_out |= {"s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"}
    if rule.archive_policy != ArchivePolicy.RESTORE:
        left_out |= {"s3:ObjectRestore:Completed"}
    return [event for event in EVENTS if event not in left_out]


def _keys(rule: ReplicationRule) -> KeyRange:
    return wanted_range(prefix=rule.source_prefix, suffix=rule.source_suffix)


def _by_arn(queues: Sequence[EventQueue]) -> dict[str, tuple[EventQueue, QueueAddress]]:
    found = {}
    for row in queues:
        with suppress(ProvisioningError):  # said at the way to that queue
            address = queue_address(row.url, region=row.region, name=row.name)
            found[address.arn] = row, address
    return found
