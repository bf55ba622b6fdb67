"""What there is and what should be → the steps between them. Pure.

Each step says in a sentence what it does, and is data: aws.py carries it out. A plan that was
carried out leaves nothing to plan, and `removal` undoes it: our own parts only.
"""

from collections.abc import Iterator, Mapping

from replication.tools.provisioning import policies
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import BucketNeeds, QueueNeeds
from replication.tools.provisioning.notifications import Merged, describe_others, is_same, merge
from replication.tools.provisioning.queues import (
    DEAD_LETTER_RETENTION_DAYS,
    MAX_RECEIVE_COUNT,
    RETENTION_DAYS,
    dead_letter_attributes,
    differences,
    doubts,
    queue_attributes,
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


def plan(needs: QueueNeeds, found: Found, *, receiver_arn: str) -> Plan:
    """The steps to what the rules need.

    Args:
        receiver_arn: who the queue's policy shall let receive; empty: whom it lets so far.
    """
    merged = {
        bucket.name: merge(
            found.heard[bucket.name],
            queue_arn=needs.address.arn,
            queue_name=needs.address.name,
            ranges=bucket.ranges,
        )
        for bucket in (*needs.buckets, *found.former)
    }
    steps: list[Step] = []
    if needs.buckets or found.queue:
        steps += _queue_steps(needs, found, _policy(needs, found, merged, receiver_arn))
    for bucket in (*needs.buckets, *found.former):
        steps += _notification_steps(bucket, needs.address, found, merged[bucket.name])
    return Plan(
        needs,
        tuple(steps),
        obstacles=tuple(
            (f"bucket {name}", obstacle)
            for name, each in merged.items()
            for obstacle in each.obstacles
        ),
        notes=tuple(_notes(needs, found, merged)),
    )


def removal(needs: QueueNeeds, found: Found) -> Plan:
    """The steps that take out what `plan` put there: with `is_partial` for these buckets alone."""
    steps: list[Step] = []
    queue, where = found.queue, _where(needs)
    buckets = (*needs.buckets, *found.former)
    for bucket in buckets:
        nothing = merge(
            found.heard[bucket.name],
            queue_arn=needs.address.arn,
            queue_name=needs.address.name,
            ranges={},
        )
        steps += _notification_steps(bucket, needs.address, found, nothing)
    if queue and queue.is_ours and not needs.is_partial:
        if needs.row.pk and needs.row.enabled:
            sentence = "poll it no longer: its row in the database is disabled, and kept"
            steps.append(Step("-", where, sentence, PollQueue(enabled=False)))
        steps.append(_remove_queue(where, "the queue", queue))
    elif queue:
        left = policies.allowed_buckets(queue.policy) - {bucket.name for bucket in buckets}
        send = policies.send_statement(needs.address, left) if left else None
        # The statement of who owns the queue takes nothing from anybody; it may be another's.
        ours = {policies.SEND: send} | ({} if left else {policies.RECEIVE: None})
        steps += _policy_steps(where, queue, policies.exchanged(queue.policy, ours))
    if found.dead_letters and found.dead_letters.is_ours and not needs.is_partial:
        steps.append(_remove_queue(where, "the dead-letter queue", found.dead_letters))
    return Plan(needs, tuple(steps))


def _queue_steps(needs: QueueNeeds, found: Found, policy: str) -> Iterator[Step]:
    address, queue, where = needs.address, found.queue, _where(needs)
    if queue is None or queue.is_ours:
        yield from _dead_letter_steps(needs, found)
    if queue is None:
        sentence = (
            f"make the queue {address.name}: kept for {RETENTION_DAYS} days, received "
            f"{MAX_RECEIVE_COUNT} times at most, then in {address.dead_letters.name}; encrypted by "
            f"SQS; S3 may send for {_names(policies.allowed_buckets(policy))} alone"
        )
        attributes = {**queue_attributes(address), "Policy": policy}
        yield Step("+", where, sentence, MakeQueue(address, attributes))
    else:
        if queue.is_ours:
            changed = differences(queue.attributes, queue_attributes(address))
            yield from _attribute_steps(where, queue, changed)
        yield from _policy_steps(where, queue, policy)
    if not needs.row.pk:
        sentence = f"add the queue {needs.row.name} to the database, so that it is polled"
        yield Step("+", where, sentence, PollQueue(enabled=True, url=queue.url if queue else ""))
    elif not needs.row.enabled:
        sentence = "poll it again: its row in the database is disabled"
        yield Step("~", where, sentence, PollQueue(enabled=True))


def _dead_letter_steps(needs: QueueNeeds, found: Found) -> Iterator[Step]:
    address, dead, where = needs.address.dead_letters, found.dead_letters, _where(needs)
    if dead is None:
        sentence = (
            f"make the dead-letter queue {address.name}: kept for "
            f"{DEAD_LETTER_RETENTION_DAYS} days; encrypted by SQS"
        )
        yield Step("+", where, sentence, MakeQueue(address, dead_letter_attributes()))
    elif dead.is_ours:
        changed = differences(dead.attributes, dead_letter_attributes())
        yield from _attribute_steps(where, dead, changed)


def _attribute_steps(where: str, queue: FoundQueue, changed: Mapping[str, str]) -> Iterator[Step]:
    if changed:
        name = queue.url.rpartition("/")[2]
        told = ", ".join(
            f"{field} {queue.attributes.get(field, 'unset')} → {value}"
            for field, value in sorted(changed.items())
        )
        yield Step("~", where, f"set of {name}: {told}", SetAttributes(queue.url, changed))


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
        sentence += f"; {kept} statements of others stay"
    yield Step("~", where, sentence, SetAttributes(queue.url, {"Policy": policy}))


def _notification_steps(
    bucket: BucketNeeds, queue: QueueAddress, found: Found, merged: Merged
) -> Iterator[Step]:
    before = found.heard[bucket.name]
    if is_same(before, merged.configuration):
        return
    told = "; ".join(map(str, merged.heard))
    sentence = (
        f"notify {queue.name} of what is created, removed, expired or restored: {told}"
        if told
        else f"notify {queue.name} no longer"
    )
    if kept := describe_others(before, queue_arn=queue.arn):
        sentence += f"; stays as it is: {', '.join(kept)}"
    change = PutNotifications(bucket, queue.account, before, merged.configuration)
    yield Step("~" if told else "-", f"bucket {bucket.name}", sentence, change)


def _policy(
    needs: QueueNeeds, found: Found, merged: Mapping[str, Merged], receiver_arn: str
) -> str:
    """The queue's policy as it should be."""
    queue = found.queue
    policy = queue.policy if queue else ""
    listed = policies.allowed_buckets(policy)
    wanted = {bucket.name for bucket in needs.buckets}
    # What others let in, or have notify a queue of theirs, needs nothing of ours.
    ours = {name for name in wanted if merged[name].heard or name in listed}
    ours -= policies.allowed_by_others(policy, needs.address)
    buckets = wanted if queue is None or queue.is_ours else ours
    if needs.is_partial:
        buckets = buckets | listed
    receiver_arn = receiver_arn or policies.receiver(policy)
    statements: dict[str, policies.Statement | None] = {
        policies.SEND: policies.send_statement(needs.address, buckets) if buckets else None
    }
    if queue is None or queue.is_ours:
        statements = {policies.OWNER: policies.owner_statement(needs.address), **statements}
    if receiver_arn:
        receive = policies.receive_statement(needs.address, receiver_arn)
        statements[policies.RECEIVE] = receive
    return policies.exchanged(policy, statements)


def _notes(
    needs: QueueNeeds, found: Found, merged: Mapping[str, Merged]
) -> Iterator[tuple[str, str]]:
    if found.queue and not found.queue.is_ours:
        yield (
            _where(needs),
            "it was not made by provision (it has no tag of its): only its policy is added to",
        )
    for doubt in doubts(found.queue.attributes) if found.queue else ():
        yield _where(needs), doubt
    for name, each in merged.items():
        if each.covered:
            yield f"bucket {name}", "notifies the queue already, by an entry that is not ours"


def _remove_queue(where: str, what: str, queue: FoundQueue) -> Step:
    name = queue.url.rpartition("/")[2]
    lost = f"; messages that are lost with it: {queue.messages:,}" if queue.messages else ""
    return Step("-", where, f"delete {what} {name}{lost}", RemoveQueue(queue.url))


def _where(needs: QueueNeeds) -> str:
    return f"queue {needs.row.name} ({needs.address.region}, account {needs.address.account})"


def _names(buckets: set[str]) -> str:
    return ", ".join(sorted(buckets)) or "no bucket"
