"""Receives messages, extends their visibility timeout and deletes them.

Needs only the queue's URL and the permissions sqs:ReceiveMessage, sqs:DeleteMessage and
sqs:ChangeMessageVisibility.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from replication.intake.sqs_client import SqsClient
from replication.models import EventQueue
from replication.stores.transport import TransportError

MAX_BATCH = 10
MAX_WAIT_SECONDS = 20
MAX_VISIBILITY_SECONDS = 12 * 3600  # since the message was received; SQS refuses more


class QueueError(Exception):
    """SQS refused or could not be reached; the text is its answer or the reason."""


@dataclass(frozen=True)
class Message:
    """A received message. SQS delivers it again unless it is deleted by its receipt handle."""

    id: str
    receipt_handle: str
    body: str
    sent_at: datetime


class Queue:
    """One SQS queue. Safe to use from many threads."""

    def __init__(self, queue: EventQueue) -> None:
        self.name = queue.name
        self._client = SqsClient(
            url=queue.url,
            region=queue.region,
            profile=queue.credential_profile,
            max_wait_seconds=MAX_WAIT_SECONDS,
        )

    def receive(self, *, wait_seconds: int) -> list[Message]:
        """Return up to 10 messages; waits at most `wait_seconds` (0 to 20) for the first.

        Raises:
            QueueError: SQS refused or could not be reached.
            ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
        """
        answer = self._call(
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
        """Delete up to 10 messages; returns one reason for each that was not deleted.

        Raises:
            QueueError, ReplicationError: as for `receive`.
        """
        return self._call_batch("DeleteMessageBatch", messages)

    def change_visibility(self, messages: Sequence[Message], *, seconds: int) -> list[str]:
        """Hide up to 10 messages from other receivers for `seconds` from now; 0 ends the hiding.

        Returns one reason for each message that was not changed.

        Raises:
            QueueError, ReplicationError: as for `receive`.
        """
        return self._call_batch("ChangeMessageVisibilityBatch", messages, VisibilityTimeout=seconds)

    def depth(self) -> int | None:
        """Return how many messages wait; None on any error, as sqs:GetQueueAttributes is optional.

        Raises:
            ReplicationError: as for `receive`.
        """
        try:
            answer = self._call(
                "GetQueueAttributes", AttributeNames=["ApproximateNumberOfMessages"]
            )
        except QueueError:
            return None
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def _call_batch(
        self, operation: str, messages: Sequence[Message], **arguments: int
    ) -> list[str]:
        """Run a batch operation; returns one reason for each message that it failed for."""
        entries = [
            {"Id": str(number), "ReceiptHandle": message.receipt_handle, **arguments}
            for number, message in enumerate(messages)
        ]
        answer = self._call(operation, Entries=entries)
        return [
            f"{failed['Code']}: {failed.get('Message', '')}" for failed in answer.get("Failed", [])
        ]

    def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            return self._client.call(operation, arguments)
        except ClientError as error:
            answer = error.response["Error"]
            raise QueueError(f"{answer.get('Code', '')}: {answer.get('Message', '')}") from error
        except (BotoCoreError, TransportError) as error:
            raise QueueError(str(error)) from error
