"""What exists and what is desired → the steps in between. Pure.

A step is data and describes itself in a sentence; `applying` does it. After a plan is applied,
another plan has no steps. `plan_queue_removal` undoes a plan, and removes only our own parts.
"""

from collections.abc import Iterator, Mapping

from replication.tools.provisioning import policies
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import DesiredBucket, DesiredQueue
from replication.tools.provisioning.notifications import Merged, describe_others, is_same, merge
from replication.tools.provisioning.queues import (
    DEAD_LETTER_RETENTION_DAYS,
    MAX_RECEIVE_COUNT,
    RETENTION_DAYS,
    dead_letter_attributes,
    differences,
    queue_attributes,
    risks,
)
from replication.tools.provisioning.steps import (
    Found,
    FoundQueue,
    MakeQueue,
    Plan,
    PollQueue,
    PutNotifications,
    RemoveQueue,
    SetAttributes,
    Step,
)


def plan_queue(desired: DesiredQueue, found: Found, *, receiver_arn: str) -> Plan:
    """Plan the steps to what the rules need of one queue.

    Args:
        receiver_arn: the role that the queue's policy must let receive; empty: the role that it
            lets receive now, if any.
    """
    merged = {
        bucket.name: merge(
            found.notifications[bucket.name],
            queue_arn=desired.address.arn,
            queue_name=desired.address.name,
            ranges=bucket.ranges,
        )
        for bucket in (*desired.buckets, *found.former)
    }
    steps: list[Step] = []
    if desired.buckets or found.queue:
        steps += _queue_steps(desired, found, _policy(desired, found, merged, receiver_arn))
    for bucket in (*desired.buckets, *found.former):
        steps += _notification_steps(bucket, desired.address, found, merged[bucket.name])
    return Plan(
        desired,
        tuple(steps),
        obstacles=tuple(
            (f"bucket {name}", obstacle)
            for name, each in merged.items()
            for obstacle in each.obstacles
        ),
        notes=tuple(_notes(desired, found, merged)),
    )


def plan_queue_removal(desired: DesiredQueue, found: Found) -> Plan:
    """Plan to remove what `plan_queue` makes; with `is_partial`, for the desired buckets only."""
    steps: list[Step] = []
    queue, where = found.queue, _where(desired)
    buckets = (*desired.buckets, *found.former)
    for bucket in buckets:
        nothing = merge(
            found.notifications[bucket.name],
            queue_arn=desired.address.arn,
            queue_name=desired.address.name,
            ranges={},
        )
        steps += _notification_steps(bucket, desired.address, found, nothing)
    if queue and queue.is_ours and not desired.is_partial:
        if desired.row.pk and desired.row.enabled:
            sentence = "stop polling the queue: disable its row in the database, and keep the row"
            steps.append(Step("-", where, sentence, PollQueue(enabled=False)))
        steps.append(_remove_queue(where, "the queue", queue))
    elif queue:
        remaining = policies.allowed_buckets(queue.policy) - {bucket.name for bucket in buckets}
        send = policies.send_statement(desired.address, remaining) if remaining else None
        # The owner's statement stays: it takes no right from anyone, and may not be ours.
        ours = {policies.SEND: send} | ({} if remaining else {policies.RECEIVE: None})
        steps += _policy_steps(where, queue, policies.replace_statements(queue.policy, ours))
    if found.dead_letters and found.dead_letters.is_ours and not desired.is_partial:
        steps.append(_remove_queue(where, "the dead-letter queue", found.dead_letters))
    return Plan(desired, tuple(steps))


def _queue_steps(desired: DesiredQueue, found: Found, policy: str) -> Iterator[Step]:
    address, queue, where = desired.address, found.queue, _where(desired)
    if queue is None or queue.is_ours:
        yield from _dead_letter_steps(desired, found)
    if queue is None:
        sentence = (
            f"make the queue {address.name}: keep messages for {RETENTION_DAYS} days, move them to "
            f"{address.dead_letters.name} after {MAX_RECEIVE_COUNT} receipts; encrypted by SQS; S3 "
            f"may send for {_names(policies.allowed_buckets(policy))} only"
        )
        attributes = {**queue_attributes(address), "Policy": policy}
        yield Step("+", where, sentence, MakeQueue(address, attributes))
    else:
        if queue.is_ours:
            changed = differences(queue.attributes, queue_attributes(address))
            yield from _attribute_steps(where, queue, changed)
        yield from _policy_steps(where, queue, policy)
    if not desired.row.pk:
        sentence = f"add the queue {desired.row.name} to the database, so that it is polled"
        yield Step("+", where, sentence, PollQueue(enabled=True, url=queue.url if queue else ""))
    elif not desired.row.enabled:
        sentence = "poll the queue again: enable its row in the database"
        yield Step("~", where, sentence, PollQueue(enabled=True))


def _dead_letter_steps(desired: DesiredQueue, found: Found) -> Iterator[Step]:
    address, dead, where = desired.address.dead_letters, found.dead_letters, _where(desired)
    if dead is None:
        sentence = (
            f"make the dead-letter queue {address.name}: keep messages for "
            f"{DEAD_LETTER_RETENTION_DAYS} days; encrypted by SQS"
        )
        yield Step("+", where, sentence, MakeQueue(address, dead_letter_attributes()))
    elif dead.is_ours:
        changed = differences(dead.attributes, dead_letter_attributes())
        yield from _attribute_steps(where, dead, changed)


def _attribute_steps(where: str, queue: FoundQueue, changed: Mapping[str, str]) -> Iterator[Step]:
    if changed:
        name = queue.url.rpartition("/")[2]
        changes = ", ".join(
            f"{field} {queue.attributes.get(field, 'unset')} → {value}"
            for field, value in sorted(changed.items())
        )
        sentence = f"change attributes of {name}: {changes}"
        yield Step("~", where, sentence, SetAttributes(queue.url, changed))


def _policy_steps(where: str, queue: FoundQueue, policy: str) -> Iterator[Step]:
    if policy == queue.policy:
        return
    ours = {policies.OWNER, policies.SEND, policies.RECEIVE}
    kept = len(policies.statements(policy).keys() - ours)
    sentence = (
        f"change the queue's policy: S3 may send for {_names(policies.allowed_buckets(policy))}"
    )
    if receiver := policies.receiver(policy):
        sentence += f", {receiver} may receive"
    if kept:
        sentence += f"; {kept} other statements stay"
    yield Step("~", where, sentence, SetAttributes(queue.url, {"Policy": policy}))


def _notification_steps(
    bucket: DesiredBucket, queue: QueueAddress, found: Found, merged: Merged
) -> Iterator[Step]:
    before = found.notifications[bucket.name]
    if is_same(before, merged.configuration):
        return
    ranges = "; ".join(map(str, merged.ranges))
    sentence = (
        f"notify {queue.name} of objects that are created, removed, expired or restored: {ranges}"
        if ranges
        else f"stop notifying {queue.name}"
    )
    if kept := describe_others(before, queue_arn=queue.arn):
        sentence += f"; stays as it is: {', '.join(kept)}"
    change = PutNotifications(bucket, queue.account, before, merged.configuration)
    yield Step("~" if ranges else "-", f"bucket {bucket.name}", sentence, change)


def _policy(
    desired: DesiredQueue, found: Found, merged: Mapping[str, Merged], receiver_arn: str
) -> str:
    """The queue's policy as it should be."""
    queue = found.queue
    policy = queue.policy if queue else ""
    allowed = policies.allowed_buckets(policy)
    wanted = {bucket.name for bucket in desired.buckets}
    # A queue that is not ours needs no statement of ours for a bucket that another statement
    # allows, or that notifies the queue only by entries of others.
    needed = {name for name in wanted if merged[name].ranges or name in allowed}
    needed -= policies.buckets_allowed_by_others(policy, desired.address)
    buckets = wanted if queue is None or queue.is_ours else needed
    if desired.is_partial:
        buckets = buckets | allowed
    receiver_arn = receiver_arn or policies.receiver(policy)
    statements: dict[str, policies.Statement | None] = {
        policies.SEND: policies.send_statement(desired.address, buckets) if buckets else None
    }
    if queue is None or queue.is_ours:
        statements = {policies.OWNER: policies.owner_statement(desired.address), **statements}
    if receiver_arn:
        receive = policies.receive_statement(desired.address, receiver_arn)
        statements[policies.RECEIVE] = receive
    return policies.replace_statements(policy, statements)


def _notes(
    desired: DesiredQueue, found: Found, merged: Mapping[str, Merged]
) -> Iterator[tuple[str, str]]:
    if found.queue and not found.queue.is_ours:
        yield (
            _where(desired),
            "the queue was not made by provision (it lacks the tag): only statements are added to "
            "its policy",
        )
    for risk in risks(found.queue.attributes) if found.queue else ():
        yield _where(desired), risk
    for name, each in merged.items():
        if each.is_covered_by_others:
            yield f"bucket {name}", "notifies the queue already, by an entry that is not ours"
        for receiver in each.tag_receivers:
            yield (
                f"bucket {name}",
                "tags that change after the upload are not followed where their events go to "
                f"{receiver}: S3 allows only one receiver. For both to get them, see "
                "docs/guides/provisioning.md, “Another receiver already gets the events”",
            )


def _remove_queue(where: str, what: str, queue: FoundQueue) -> Step:
    name, count = queue.url.rpartition("/")[2], queue.message_count
    lost = f"; messages that are lost with it: {count:,}" if count else ""
    return Step("-", where, f"delete {what} {name}{lost}", RemoveQueue(queue.url))


def _where(desired: DesiredQueue) -> str:
    address = desired.address
    return f"queue {desired.row.name} ({address.region}, account {address.account})"


def _names(buckets: set[str]) -> str:
    return ", ".join(sorted(buckets)) or "no bucket"
