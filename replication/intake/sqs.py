"""Receive, hide and delete, nothing else: with the queue's URL alone, and no other permission than
sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from replication.intake.sqs_client import Calls
from replication.models import EventQueue
from replication.stores.transport import TransportError

MAX_BATCH = 10
MAX_WAIT_SECONDS = 20
LONGEST_HIDDEN_SECONDS = 12 * 3600  # from the receipt on; SQS refuses more


class QueueError(Exception):
    """SQS refused or could not be reached; the text says what it answered."""


@dataclass(frozen=True)
class Message:
    """A received message. SQS delivers it again unless it is deleted by its receipt."""

    id: str
    receipt_handle: str
    body: str
    sent_at: datetime


class Queue:
    """One SQS queue. Safe to use from many threads."""

    def __init__(self, queue: EventQueue) -> None:
        self._calls = Calls(
            url=queue.url,
            region=queue.region,
            profile=queue.credential_profile,
            longest_wait_seconds=MAX_WAIT_SECONDS,
        )

    def receive(self, *, wait_seconds: int) -> list[Message]:
        """Up to 10 messages, waiting for the first as long as told, at most 20 seconds.

        Raises:
            QueueError: see there.
        """
        answer = self._ask(
            "ReceiveMessage",
            MaxNumberOfMessages=MAX_BATCH,
            WaitTimeSeconds=wait_seconds,
            AttributeNames=["SentTimestamp"],
        )
        return [
            Message(
                id=message["MessageId"],
                receipt_handle=message["ReceiptHandle"],
                body=message["Body"],
                sent_at=datetime.fromtimestamp(
                    int(message["Attributes"]["SentTimestamp"]) / 1000, UTC
                ),
            )
            for message in answer.get("Messages", [])
        ]

    def delete(self, messages: Sequence[Message]) -> list[str]:
        """Delete up to 10 messages; returns why each of the rest could not be deleted.

        Raises:
            QueueError: see there.
        """
        return self._ask_for_each("DeleteMessageBatch", messages)

    def change_visibility(self, messages: Sequence[Message], *, seconds: int) -> list[str]:
        """Hide up to 10 messages from others for so long from now on; 0 gives them back at once.

        Returns why it could not be done for each of the rest.

        Raises:
            QueueError: see there.
        """
        return self._ask_for_each(
            "ChangeMessageVisibilityBatch", messages, VisibilityTimeout=seconds
        )

    def depth(self) -> int | None:
        """Messages that wait; None where sqs:GetQueueAttributes is not granted, or on any error."""
        try:
            answer = self._ask("GetQueueAttributes", AttributeNames=["ApproximateNumberOfMessages"])
        except QueueError:
            return None
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def _ask_for_each(
        self, operation: str, messages: Sequence[Message], **arguments: int
    ) -> list[str]:
        """A batch operation; why it failed for single messages."""
        entries = [
            {"Id": str(number), "ReceiptHandle": message.receipt_handle, **arguments}
            for number, message in enumerate(messages)
        ]
        answer = self._ask(operation, Entries=entries)
        return [
            f"{failed['Code']}: {failed.get('Message', '')}" for failed in answer.get("Failed", [])
        ]

    def _ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            return self._calls.ask(operation, arguments)
        except ClientError as error:
            answer = error.response["Error"]
            raise QueueError(f"{answer.get('Code', '')}: {answer.get('Message', '')}") from error
        except (BotoCoreError, TransportError) as error:
            raise QueueError(str(error)) from error
