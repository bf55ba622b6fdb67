"""What there is and what should be, and the steps between: without AWS."""

import json
from dataclasses import replace
from typing import Any

from replication.models import EventQueue
from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import BucketNeeds, QueueNeeds
from replication.tools.provisioning.notifications import EVENTS, KeyRange
from replication.tools.provisioning.planning import plan, removal
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
PHOTOS = BucketNeeds("photos", "ap-east-1", "", "default", {"photos": KeyRange("originals/")})
DOCUMENTS = BucketNeeds("documents", "ap-east-1", "", "default", {"documents": KeyRange()})
NOTHING = Found(None, None, heard={"photos": {}, "documents": {}})


def needs(*buckets: BucketNeeds, is_partial: bool = False) -> QueueNeeds:
    row = EventQueue(pk=1, name="s3sync", url=URL, region="ap-east-1")
    return QueueNeeds(row, ADDRESS, buckets, is_partial)


def carried_out(found: Found, planned: Plan) -> Found:
    """What there is afterwards."""
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
                assert found.heard[bucket.name] == before
                found = replace(found, heard={**found.heard, bucket.name: after})
            case RemoveQueue(url) if url == URL:
                found = replace(found, queue=None)
            case RemoveQueue():
                found = replace(found, dead_letters=None)
    return found


def made(*buckets: BucketNeeds, receiver_arn: str = "") -> Found:
    """What there is once all was made for these buckets."""
    return carried_out(NOTHING, plan(needs(*buckets), NOTHING, receiver_arn=receiver_arn))


def hand_made(*, policy: str = "", **attributes: str) -> Found:
    """Somebody's queue."""
    return replace(NOTHING, queue=FoundQueue(URL, {**attributes, "Policy": policy}, {"team": "a"}))


def changes(planned: Plan) -> list[Any]:
    return [step.change for step in planned.steps]


def test_from_nothing_the_queues_come_first_and_a_second_plan_has_no_steps() -> None:
    first = plan(needs(PHOTOS, DOCUMENTS), NOTHING, receiver_arn="")
    assert [type(change) for change in changes(first)] == [
        *[MakeQueue, MakeQueue],
        *[PutNotifications, PutNotifications],
    ]
    there = carried_out(NOTHING, first)
    assert plan(needs(PHOTOS, DOCUMENTS), there, receiver_arn="").steps == ()


def test_messages_have_longer_in_the_dead_letter_queue_than_in_the_first() -> None:
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


def test_the_receiver_that_was_named_once_stays() -> None:
    there = made(PHOTOS, receiver_arn=ROLE)
    assert there.queue
    assert receiver(there.queue.policy) == ROLE
    assert plan(needs(PHOTOS), there, receiver_arn="").steps == ()
    (step,) = plan(needs(PHOTOS), there, receiver_arn=f"{ROLE}-new").steps
    assert f"{ROLE}-new may receive" in step.sentence


def test_what_somebody_changed_of_our_queue_is_changed_back_but_for_larger_messages() -> None:
    there = made(PHOTOS)
    assert there.queue
    changed = {"VisibilityTimeout": "5", "MaximumMessageSize": "1024"}
    touched = replace(
        there, queue=replace(there.queue, attributes={**there.queue.attributes, **changed})
    )
    (step,) = plan(needs(PHOTOS), touched, receiver_arn="").steps
    assert isinstance(step.change, SetAttributes)
    assert step.change.attributes == {"VisibilityTimeout": "30", "MaximumMessageSize": "262144"}
    assert "VisibilityTimeout 5 → 30" in step.sentence
    larger = {**there.queue.attributes, "MaximumMessageSize": "1048576"}
    assert not plan(
        needs(PHOTOS),
        replace(there, queue=replace(there.queue, attributes=larger)),
        receiver_arn="",
    ).steps


def test_a_key_that_somebody_encrypts_our_queue_with_stays_and_what_it_needs_is_said() -> None:
    there = made(PHOTOS)
    assert there.queue
    keyed = {**there.queue.attributes, "KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}
    planned = plan(
        needs(PHOTOS),
        replace(there, queue=replace(there.queue, attributes=keyed)),
        receiver_arn="",
    )
    assert planned.steps == ()
    assert ["kms:GenerateDataKey" in note for _, note in planned.notes] == [True]


def test_a_bucket_whose_rules_are_gone_is_heard_no_longer() -> None:
    there = replace(made(PHOTOS, DOCUMENTS), former=(replace(DOCUMENTS, ranges={}),))
    planned = plan(needs(PHOTOS), there, receiver_arn="")
    assert [type(change) for change in changes(planned)] == [SetAttributes, PutNotifications]
    after = carried_out(there, planned)
    assert after.queue
    assert allowed_buckets(after.queue.policy) == {"photos"}
    assert after.heard["documents"] == {}


def test_a_plan_for_some_sources_leaves_the_other_buckets_alone() -> None:
    there = carried_out(
        made(DOCUMENTS), plan(needs(PHOTOS, is_partial=True), made(DOCUMENTS), receiver_arn="")
    )
    assert there.queue
    assert allowed_buckets(there.queue.policy) == {"documents", "photos"}
    without = carried_out(there, removal(needs(PHOTOS, is_partial=True), there))
    assert without.queue
    assert allowed_buckets(without.queue.policy) == {"documents"}
    assert without.heard == made(DOCUMENTS).heard
    assert without.dead_letters


def test_somebody_elses_queue_gets_nothing_but_a_statement_and_what_it_loses_is_said() -> None:
    found = hand_made(MaximumMessageSize="8192", KmsMasterKeyId="alias/a")
    planned = plan(needs(PHOTOS), found, receiver_arn="")
    assert [type(change) for change in changes(planned)] == [SetAttributes, PutNotifications]
    assert changes(planned)[0].attributes.keys() == {"Policy"}
    told = " ".join(note for _, note in planned.notes)
    for part in ("not made by provision", "8,192 bytes", "alias/a", "no dead-letter queue"):
        assert part in told
    after = carried_out(found, planned)
    undone = carried_out(after, removal(needs(PHOTOS), after))
    assert undone.queue
    assert statements(undone.queue.policy) == {}
    assert undone.heard["photos"] == {}


def test_what_was_set_up_by_hand_needs_nothing() -> None:
    entry = {"Id": "by hand", "QueueArn": ADDRESS.arn, "Events": list(EVENTS)}
    found = hand_made(policy='{"Statement": []}', RedrivePolicy="{}")
    found = replace(found, heard={"photos": {"QueueConfigurations": [entry]}})
    assert plan(needs(PHOTOS), found, receiver_arn="").steps == ()
    assert removal(needs(PHOTOS), found).steps == ()


def test_removal_ends_the_telling_before_the_queue_and_says_what_is_lost() -> None:
    there = made(PHOTOS, receiver_arn=ROLE)
    assert there.queue
    held = {**there.queue.attributes, "ApproximateNumberOfMessages": "1200"}
    there = replace(there, queue=replace(there.queue, attributes=held))
    planned = removal(needs(PHOTOS), there)
    assert [type(change) for change in changes(planned)] == [
        PutNotifications,
        PollQueue,
        RemoveQueue,
        RemoveQueue,
    ]
    assert "lost with it: 1,200" in planned.steps[2].sentence
    assert carried_out(there, planned) == NOTHING


def test_a_queue_that_nothing_needs_is_not_made() -> None:
    assert plan(needs(), NOTHING, receiver_arn="").steps == ()
