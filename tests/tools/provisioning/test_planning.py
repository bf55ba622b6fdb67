"""Planning the steps from what exists to what is desired, without AWS."""

import json
from dataclasses import replace
from typing import Any

from replication.models import EventQueue
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import DesiredBucket, DesiredQueue
from replication.tools.provisioning.notifications import EVENTS, KeyRange
from replication.tools.provisioning.planning import plan_queue, plan_queue_removal
from replication.tools.provisioning.policies import allowed_buckets, receiver, statements
from replication.tools.provisioning.queues import TAG
from replication.tools.provisioning.steps import (
    Found,
    FoundQueue,
    MakeQueue,
    Plan,
    PollQueue,
    PutNotifications,
    RemoveQueue,
    SetAttributes,
)

ADDRESS = QueueAddress("ap-east-1", "123456789012", "s3sync")
URL = "https://sqs.ap-east-1.amazonaws.com/123456789012/s3sync"
ROLE = "arn:aws:iam::123456789012:role/s3sync"
PHOTOS = DesiredBucket("photos", "ap-east-1", "", "default", {"photos": KeyRange("originals/")})
DOCUMENTS = DesiredBucket("documents", "ap-east-1", "", "default", {"documents": KeyRange()})
NOTHING = Found(None, None, notifications={"photos": {}, "documents": {}})


def desired(*buckets: DesiredBucket, is_partial: bool = False) -> DesiredQueue:
    row = EventQueue(pk=1, name="s3sync", url=URL, region="ap-east-1")
    return DesiredQueue(row, ADDRESS, buckets, is_partial)


def apply(found: Found, planned: Plan) -> Found:
    """What exists after the plan's steps."""
    for step in planned.steps:
        match step.change:
            case MakeQueue(address, attributes) if address == ADDRESS:
                found = replace(found, queue=FoundQueue(URL, attributes, TAG))
            case MakeQueue(_, attributes):
                found = replace(found, dead_letters=FoundQueue(f"{URL}-dead", attributes, TAG))
            case SetAttributes(url, attributes) if url == URL and found.queue:
                changed = {**found.queue.attributes, **attributes}
                found = replace(found, queue=replace(found.queue, attributes=changed))
            case PutNotifications(bucket, _, before, after):
                assert found.notifications[bucket.name] == before
                found = replace(found, notifications={**found.notifications, bucket.name: after})
            case RemoveQueue(url) if url == URL:
                found = replace(found, queue=None)
            case RemoveQueue():
                found = replace(found, dead_letters=None)
    return found


def made(*buckets: DesiredBucket, receiver_arn: str = "") -> Found:
    """What exists after everything was made for these buckets."""
    return apply(NOTHING, plan_queue(desired(*buckets), NOTHING, receiver_arn=receiver_arn))


def hand_made(*, policy: str = "", **attributes: str) -> Found:
    """A queue without our tag."""
    return replace(NOTHING, queue=FoundQueue(URL, {**attributes, "Policy": policy}, {"team": "a"}))


def changes(planned: Plan) -> list[Any]:
    return [step.change for step in planned.steps]


def test_the_queues_are_made_first_and_a_second_plan_has_no_steps() -> None:
    first = plan_queue(desired(PHOTOS, DOCUMENTS), NOTHING, receiver_arn="")
    assert [type(change) for change in changes(first)] == [
        *[MakeQueue, MakeQueue],
        *[PutNotifications, PutNotifications],
    ]
    there = apply(NOTHING, first)
    assert plan_queue(desired(PHOTOS, DOCUMENTS), there, receiver_arn="").steps == ()


def test_the_dead_letter_queue_keeps_messages_longer_than_the_queue() -> None:
    there = made(PHOTOS)
    assert there.queue
    assert there.dead_letters
    kept, kept_dead = (
        int(queue.attributes["MessageRetentionPeriod"])
        for queue in (there.queue, there.dead_letters)
    )
    assert (kept, kept_dead) == (4 * 24 * 3600, 14 * 24 * 3600)
    redrive = json.loads(there.queue.attributes["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == f"{ADDRESS.arn}-dead"
    assert there.queue.attributes["SqsManagedSseEnabled"] == "true"


def test_a_receiver_that_was_named_once_stays() -> None:
    there = made(PHOTOS, receiver_arn=ROLE)
    assert there.queue
    assert receiver(there.queue.policy) == ROLE
    assert plan_queue(desired(PHOTOS), there, receiver_arn="").steps == ()
    (step,) = plan_queue(desired(PHOTOS), there, receiver_arn=f"{ROLE}-new").steps
    assert f"{ROLE}-new may receive" in step.sentence


def test_changed_attributes_of_our_queue_are_changed_back_except_a_larger_message_size() -> None:
    there = made(PHOTOS)
    assert there.queue
    changed = {"VisibilityTimeout": "5", "MaximumMessageSize": "1024"}
    touched = replace(
        there, queue=replace(there.queue, attributes={**there.queue.attributes, **changed})
    )
    (step,) = plan_queue(desired(PHOTOS), touched, receiver_arn="").steps
    assert isinstance(step.change, SetAttributes)
    assert step.change.attributes == {"VisibilityTimeout": "30", "MaximumMessageSize": "262144"}
    assert "VisibilityTimeout 5 → 30" in step.sentence
    larger = {**there.queue.attributes, "MaximumMessageSize": "1048576"}
    assert not plan_queue(
        desired(PHOTOS),
        replace(there, queue=replace(there.queue, attributes=larger)),
        receiver_arn="",
    ).steps


def test_a_kms_key_of_our_queue_stays_and_a_note_says_what_it_needs() -> None:
    there = made(PHOTOS)
    assert there.queue
    keyed = {**there.queue.attributes, "KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}
    planned = plan_queue(
        desired(PHOTOS),
        replace(there, queue=replace(there.queue, attributes=keyed)),
        receiver_arn="",
    )
    assert planned.steps == ()
    assert ["kms:GenerateDataKey" in note for _, note in planned.notes] == [True]


def test_a_bucket_without_rules_stops_notifying_the_queue() -> None:
    there = replace(made(PHOTOS, DOCUMENTS), former=(replace(DOCUMENTS, ranges={}),))
    planned = plan_queue(desired(PHOTOS), there, receiver_arn="")
    assert [type(change) for change in changes(planned)] == [SetAttributes, PutNotifications]
    after = apply(there, planned)
    assert after.queue
    assert allowed_buckets(after.queue.policy) == {"photos"}
    assert after.notifications["documents"] == {}


def test_a_plan_for_some_sources_leaves_the_other_buckets_alone() -> None:
    there = apply(
        made(DOCUMENTS),
        plan_queue(desired(PHOTOS, is_partial=True), made(DOCUMENTS), receiver_arn=""),
    )
    assert there.queue
    assert allowed_buckets(there.queue.policy) == {"documents", "photos"}
    without = apply(there, plan_queue_removal(desired(PHOTOS, is_partial=True), there))
    assert without.queue
    assert allowed_buckets(without.queue.policy) == {"documents"}
    assert without.notifications == made(DOCUMENTS).notifications
    assert without.dead_letters


def test_a_queue_without_our_tag_gets_only_a_statement_and_notes_say_what_it_may_lose() -> None:
    found = hand_made(MaximumMessageSize="8192", KmsMasterKeyId="alias/a")
    planned = plan_queue(desired(PHOTOS), found, receiver_arn="")
    assert [type(change) for change in changes(planned)] == [SetAttributes, PutNotifications]
    assert changes(planned)[0].attributes.keys() == {"Policy"}
    notes = " ".join(note for _, note in planned.notes)
    for part in ("not made by provision", "8,192 bytes", "alias/a", "no dead-letter queue"):
        assert part in notes
    after = apply(found, planned)
    undone = apply(after, plan_queue_removal(desired(PHOTOS), after))
    assert undone.queue
    assert statements(undone.queue.policy) == {}
    assert undone.notifications["photos"] == {}


def test_a_complete_set_up_by_hand_needs_no_steps() -> None:
    entry = {"Id": "by hand", "QueueArn": ADDRESS.arn, "Events": list(EVENTS)}
    found = hand_made(policy='{"Statement": []}', RedrivePolicy="{}")
    found = replace(found, notifications={"photos": {"QueueConfigurations": [entry]}})
    assert plan_queue(desired(PHOTOS), found, receiver_arn="").steps == ()
    assert plan_queue_removal(desired(PHOTOS), found).steps == ()


def test_removal_stops_notifications_before_it_deletes_the_queue_and_says_what_is_lost() -> None:
    there = made(PHOTOS, receiver_arn=ROLE)
    assert there.queue
    full = {**there.queue.attributes, "ApproximateNumberOfMessages": "1200"}
    there = replace(there, queue=replace(there.queue, attributes=full))
    planned = plan_queue_removal(desired(PHOTOS), there)
    assert [type(change) for change in changes(planned)] == [
        PutNotifications,
        PollQueue,
        RemoveQueue,
        RemoveQueue,
    ]
    assert "lost with it: 1,200" in planned.steps[2].sentence
    assert apply(there, planned) == NOTHING


def test_a_queue_that_no_bucket_needs_is_not_made() -> None:
    assert plan_queue(desired(), NOTHING, receiver_arn="").steps == ()
