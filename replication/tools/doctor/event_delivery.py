"""Checks that events of a rule's objects arrive: from the bucket to a queue, or through the API."""

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
from replication.tools.doctor.aws import Refusal, RefusalReason
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
    OBJECT_EVENTS,
    TAG_EVENTS,
    KeyRange,
    Notification,
    has_event,
    read_notifications,
    wanted_range,
)

# An event that is older than this does not show that events still arrive.
RECENT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class LastEvents:
    """How long ago the last events arrived.

    `event_seconds` and `api_seconds` are the ages of the rule's newest job from SQS and from the
    API; None if none of the newest jobs is one. `lambda_seconds` is how long ago a Lambda function
    posted an event of any rule; None if none ever did.
    """

    event_seconds: float | None = None
    api_seconds: float | None = None
    lambda_seconds: float | None = None


def check_event_delivery(
    rule: ReplicationRule, queues: Sequence[EventQueue], last: LastEvents, *, administrator: str
) -> Findings:
    """Check that S3, or a caller of the API, reports changes of the rule's objects.

    Args:
        queues: all queues that are polled.
        administrator: the credential profile that reads the bucket's notifications and the queue's
            policy; empty: the source's and the queue's own, which need not have that right.
    """
    if rule.source.kind == SourceKind.HTTP:
        yield _check_web_server(rule, last)
        return
    try:
        configuration = aws.bucket_notifications(
            rule.source, profile=administrator or rule.source.credential_profile
        )
    except Refusal as refusal:
        if refusal.reason is not RefusalReason.MISSING:  # the source's checks report that
            yield _unreadable(rule, queues, last, refusal)
        return
    except ReplicationError as error:
        yield from_error(Check.NOTIFICATION, error)
        return
    polled = _by_arn(queues)
    entries = [
        each for each in read_notifications(configuration) if each.keys.overlaps(_keys(rule))
    ]
    to_us = [each for each in entries if each.target_arn in polled]
    if not to_us:
        yield _no_polled_queue_notified(
            rule, entries, queues, last, has_bridge="EventBridgeConfiguration" in configuration
        )
        return
    yield _check_coverage(rule, to_us)
    for arn in sorted({each.target_arn for each in to_us}):
        yield from _check_policy(rule, *polled[arn], administrator=administrator)


def _check_web_server(rule: ReplicationRule, last: LastEvents) -> Finding:
    if not rule.source.domains.all():
        return failed(
            Check.API,
            f"the source {rule.source.name} has no domain, so callers can't announce its objects",
            fix="Add to the source the domain under which its objects are downloaded: callers of "
            "/api/v1/events name it.",
        )
    return _through_api(last, because="a web server announces nothing by itself")


def _check_coverage(rule: ReplicationRule, entries: Sequence[Notification]) -> Finding:
    """Whether the entries that notify our queues cover all keys and events that the rule needs."""
    keys, name = _keys(rule), entries[0].target_arn.rpartition(":")[2]
    covering = [each for each in entries if each.keys.covers(keys)]
    if not covering:
        ranges = "; ".join(str(each.keys) for each in entries)
        return failed(
            Check.NOTIFICATION,
            f"the bucket notifies {name} only of {ranges}, but the rule is for {keys}: changes of "
            "the other keys are not followed",
            fix="Widen the filter of that notification, or add what is missing by `manage.py "
            "provision --apply`.",
        )
    missing = [
        event
        for event in _needed_events(rule)
        if not any(has_event(each, event) for each in covering)
    ]
    if missing:
        return failed(
            Check.NOTIFICATION,
            f"the bucket does not notify {name} of all of {', '.join(missing)}: these changes are "
            "not followed",
            fix="Add them by `manage.py provision --apply`; or, if the entry "
            f"{covering[0].id!r} is yours to change, add them there.",
        )
    if not any(has_event(each, TAG_EVENTS) for each in covering):
        return warned(
            Check.NOTIFICATION,
            f"the bucket does not notify {name} of all of {TAG_EVENTS}: tags that change after the "
            "upload reach the replica only when its object is next copied",
            fix=f"Add {TAG_EVENTS} by `manage.py provision --apply`; or, if the entry "
            f"{covering[0].id!r} is yours to change, add it there. If another receiver gets these "
            "events, see docs/guides/provisioning.md, “Another receiver already gets the events”.",
        )
    return passed(Check.NOTIFICATION, f"the bucket notifies {name} of all that the rule needs")


def _check_policy(
    rule: ReplicationRule, row: EventQueue, address: QueueAddress, *, administrator: str
) -> Findings:
    """Whether the queue accepts what the bucket sends."""
    try:
        attributes = aws.queue_attributes(row, profile=administrator or row.credential_profile)
    except Refusal as refusal:
        if refusal.reason is not RefusalReason.MISSING:  # the queue's checks report that
            yield unknown(
                Check.QUEUE_POLICY,
                f"the policy of {address.name} can't be read: {refusal}",
                fix=_fix_as_administrator("sqs:GetQueueAttributes", refusal),
            )
        return
    except ReplicationError as error:
        yield from_error(Check.QUEUE_POLICY, error)
        return
    bucket, policy = rule.source.bucket, attributes.get("Policy", "")
    arn = bucket_arn(bucket, region=rule.source.region)
    if lets_s3_send(policy, bucket_arn=arn, account=address.account):
        yield passed(Check.QUEUE_POLICY, f"S3 may send to {address.name} for the bucket {bucket}")
        return
    yield failed(
        Check.QUEUE_POLICY,
        f"the policy of {address.name} does not let S3 send for the bucket {bucket}: its events "
        "are lost"
        if policy
        else f"{address.name} has no policy, so S3 may not send to it: the events of the bucket "
        f"{bucket} are lost",
        fix="Run `manage.py provision --apply`; or, in the queue's policy, allow sqs:SendMessage "
        f"to s3.amazonaws.com on {address.arn}, with ArnEquals aws:SourceArn {arn} and "
        f"StringEquals aws:SourceAccount {address.account}.",
    )


def _no_polled_queue_notified(
    rule: ReplicationRule,
    entries: Sequence[Notification],
    queues: Sequence[EventQueue],
    last: LastEvents,
    *,
    has_bridge: bool,
) -> Finding:
    functions = [each for each in entries if ":lambda:" in each.target_arn]
    if functions:
        name = functions[0].target_arn.rpartition(":")[2]
        return _through_api(last, because=f"the bucket notifies the Lambda function {name}")
    topics = [each.target_arn for each in entries if ":sns:" in each.target_arn]
    if topics or has_bridge:
        return _indirect(last, via=topics[0] if topics else "EventBridge")
    if last.api_seconds is not None:
        return _through_api(last, because="the bucket notifies no queue that is polled")
    region = rule.source.region
    near = [row.name for row in queues if row.region == region]
    other = f"; it notifies {entries[0].target_arn}, which is not polled" if entries else ""
    if not near:
        return failed(
            Check.NOTIFICATION,
            f"no queue in {region} is polled, and a bucket can notify queues of its own region "
            f"only, so no change is followed{other}",
            fix="Run `manage.py provision --queue NAME --apply`: it makes a queue and has the "
            "bucket notify it. Or enable the queue, if the region has one.",
        )
    return failed(
        Check.NOTIFICATION,
        f"the bucket notifies no queue that is polled, so no change is followed{other}",
        fix=f"Run `manage.py provision --apply`: it has the bucket notify {near[0]}, and keeps the "
        "bucket's other notifications.",
    )


def _unreadable(
    rule: ReplicationRule, queues: Sequence[EventQueue], last: LastEvents, refusal: Refusal
) -> Finding:
    """What is known although the bucket's notifications can't be read."""
    region = rule.source.region
    if last.api_seconds is None and not any(row.region == region for row in queues):
        return _no_polled_queue_notified(rule, [], queues, last, has_bridge=False)
    return unknown(
        Check.NOTIFICATION,
        f"the bucket's notification can't be read: {refusal}; {_last_event(last)}",
        fix=_fix_as_administrator("s3:GetBucketNotification", refusal),
    )


def _indirect(last: LastEvents, *, via: str) -> Finding:
    if last.event_seconds is not None and last.event_seconds < RECENT_SECONDS:
        return passed(Check.NOTIFICATION, f"the bucket notifies {via}; {_last_event(last)}")
    return unknown(
        Check.NOTIFICATION,
        f"the bucket notifies {via}; doctor can't see whether that reaches a polled queue; "
        f"{_last_event(last)}",
        fix="Put an object and look whether it arrives. If it does not, see "
        "docs/guides/provisioning.md, “Another receiver already gets the events”.",
    )


def _through_api(last: LastEvents, *, because: str) -> Finding:
    """Whether a caller of the API posted an event of the rule lately."""
    if last.api_seconds is not None and last.api_seconds < RECENT_SECONDS:
        ago = in_words(last.api_seconds)
        return passed(Check.API, f"{because}; an event of the rule was posted {ago} ago")
    when = "" if last.api_seconds is None else f" for {in_words(last.api_seconds)}"
    return warned(
        Check.API,
        f"{because}, and no event of the rule was posted to /api/v1/events{when}; "
        f"{_last_lambda_call(last)}",
        fix="Nothing to do if no object changed meanwhile. Otherwise test the Lambda function as "
        "deploy/lambda/README.md says: its log in CloudWatch has the reason why it is refused "
        "(S3SYNC_URL, S3SYNC_KEY), and its on-failure destination has the events that it lost.",
    )


def _last_lambda_call(last: LastEvents) -> str:
    if last.lambda_seconds is None:
        return "no Lambda function has ever posted an event"
    return f"a Lambda function last posted an event {in_words(last.lambda_seconds)} ago"


def _last_event(last: LastEvents) -> str:
    if last.event_seconds is None:
        return "no event of the rule arrived lately"
    return f"the last event of the rule arrived {in_words(last.event_seconds)} ago"


def _fix_as_administrator(action: str, refusal: Refusal) -> str:
    if refusal.reason is not RefusalReason.DENIED:
        return "Fix what the message says, or look in the AWS console."
    return (
        f"The service does not need {action}. To have this checked, name a credential profile that "
        "has it with --profile, or run `manage.py provision` as an administrator."
    )


def _needed_events(rule: ReplicationRule) -> list[str]:
    """The events without which replicas do not follow the rule's objects."""
    unneeded = set()
    if rule.delete_policy != DeletePolicy.MIRROR:
        unneeded |= {"s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"}
    if rule.archive_policy != ArchivePolicy.RESTORE:
        unneeded |= {"s3:ObjectRestore:Completed"}
    return [event for event in OBJECT_EVENTS if event not in unneeded]


def _keys(rule: ReplicationRule) -> KeyRange:
    return wanted_range(prefix=rule.source_prefix, suffix=rule.source_suffix)


def _by_arn(queues: Sequence[EventQueue]) -> dict[str, tuple[EventQueue, QueueAddress]]:
    found = {}
    for row in queues:
        with suppress(ProvisioningError):  # the check of that queue's endpoint reports it
            address = queue_address(row.url, region=row.region, name=row.name)
            found[address.arn] = row, address
    return found
