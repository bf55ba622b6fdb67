"""What provisioning asks of AWS. Its errors are translated here, once, each with a fix."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from replication.errors import MEANINGS, ReplicationError
from replication.models import EventQueue
from replication.stores.aws import aws_client, sqs_endpoint
from replication.tools.provisioning.arns import ProvisioningError, QueueAddress
from replication.tools.provisioning.desired import BucketNeeds, QueueNeeds, bucket_without_rules
from replication.tools.provisioning.notifications import is_same, without_answer
from replication.tools.provisioning.policies import allowed_buckets
from replication.tools.provisioning.queues import TAG
from replication.tools.provisioning.steps import Found, FoundQueue, PutNotifications, SetAttributes

_Answer = TypeVar("_Answer")

# S3 tries a queue out before it accepts it, and a new queue or policy takes up to a minute to be
# known everywhere. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
SETTLES_SECONDS = 75
_ASK_AGAIN_SECONDS = 5

_NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}
_DENIED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled"}
_CREDENTIALS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"),
    *("ExpiredToken", "InvalidToken", "UnrecognizedClientException"),
}
_NOT_LOGGED_IN = (
    *(CredentialRetrievalError, NoCredentialsError, PartialCredentialsError),
    *(ProfileNotFound, SSOError, TokenRetrievalError),
)
_ACTIONS = {
    "CreateQueue": "sqs:CreateQueue and sqs:TagQueue",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "PutBucketNotificationConfiguration": "s3:PutBucketNotification",
}
_HINTS = {
    "NoSuchBucket": "Make it, or correct the source's bucket name and region.",
    "AWS.SimpleQueueService.QueueDeletedRecently": "SQS keeps a deleted queue's name for a minute: "
    "run it again then.",
    "QueueDeletedRecently": "SQS keeps a deleted queue's name for a minute: run it again then.",
    "InvalidArgument": "S3 asks every receiver of the configuration, also those of others: one "
    "that is gone or does not let S3 in has the whole refused. Mend or remove it. A bucket of "
    "another account, or another region, can't notify this queue.",
}


class Aws:
    """AWS as one credential profile sees it, or as those of queues and sources do."""

    def __init__(self, *, profile: str) -> None:
        """`profile` stands in for every other, if there is one."""
        self._profile = profile

    def new_address(self, row: EventQueue) -> QueueAddress:
        """Where a queue will be that the database does not have.

        Raises:
            ProvisioningError: AWS does not know us.
        """
        client = self._client("sts", row.region, "", row.credential_profile)
        answer = self._asked(row.credential_profile, client.get_caller_identity)
        return QueueAddress(row.region, str(answer["Account"]), row.name)

    def find(self, needs: QueueNeeds) -> Found:
        """What there is.

        Raises:
            ProvisioningError: something may not be read.
        """
        queue = self._queue(needs, needs.address, needs.row.url)
        listed = allowed_buckets(queue.policy) if queue else set()
        known = {bucket.name for bucket in needs.buckets}
        former = tuple(
            bucket_without_rules(name, needs.row)
            for name in sorted(listed - known)
            if not needs.is_partial
        )
        account = needs.address.account
        return Found(
            queue,
            self._queue(needs, needs.address.dead_letters, ""),
            heard={
                **{each.name: self.notifications(each, account=account) for each in needs.buckets},
                **{each.name: self._of_former(each, account=account) for each in former},
            },
            former=former,
        )

    def make_queue(
        self, row: EventQueue, address: QueueAddress, attributes: Mapping[str, str]
    ) -> str:
        """Make a queue with our tag; its URL."""
        client = self._sqs(row)
        answer = self._patiently(
            row.credential_profile,
            lambda: client.create_queue(
                QueueName=address.name, Attributes=dict(attributes), tags=dict(TAG)
            ),
            # Its dead-letter queue was made just now, and may not be known yet.
            again_on={*_NO_QUEUE, "InvalidParameterValue"},
            seconds=SETTLES_SECONDS,
        )
        return str(answer["QueueUrl"])

    def set_attributes(self, row: EventQueue, change: SetAttributes) -> None:
        """Set these attributes of a queue; what is empty is removed."""
        client = self._sqs(row)
        self._asked(
            row.credential_profile,
            lambda: client.set_queue_attributes(
                QueueUrl=change.url, Attributes=dict(change.attributes)
            ),
        )

    def remove_queue(self, row: EventQueue, url: str) -> None:
        """Delete a queue."""
        client = self._sqs(row)
        self._asked(row.credential_profile, lambda: client.delete_queue(QueueUrl=url))

    def notifications(self, bucket: BucketNeeds, *, account: str) -> dict[str, Any]:
        """What the bucket tells."""
        client = self._s3(bucket)
        answer = self._asked(
            bucket.profile,
            lambda: client.get_bucket_notification_configuration(
                Bucket=bucket.name, ExpectedBucketOwner=account
            ),
            about=f"bucket {bucket.name}",
        )
        return without_answer(answer)

    def put_notifications(self, change: PutNotifications, *, patience_seconds: float) -> None:
        """Have the bucket tell this, unless somebody changed it since it was planned."""
        bucket, client = change.bucket, self._s3(change.bucket)
        # S3 has no conditional write of it: this leaves the moment between the two requests.
        if not is_same(self.notifications(bucket, account=change.account), change.before):
            raise ProvisioningError(
                f"bucket {bucket.name}: its notifications were changed meanwhile; they are as "
                "somebody else has left them",
                hint="Run it again, for a new plan.",
            )
        self._patiently(
            bucket.profile,
            lambda: client.put_bucket_notification_configuration(
                Bucket=bucket.name,
                ExpectedBucketOwner=change.account,
                NotificationConfiguration=change.after,
            ),
            again_on={"InvalidArgument"},
            seconds=patience_seconds,
            about=f"bucket {bucket.name}",
        )

    def _of_former(self, bucket: BucketNeeds, *, account: str) -> dict[str, Any]:
        try:
            return self.notifications(bucket, account=account)
        except ProvisioningError as error:
            if _code(error.__cause__) == "NoSuchBucket":
                return {}
            raise

    def _queue(self, needs: QueueNeeds, address: QueueAddress, url: str) -> FoundQueue | None:
        row, client = needs.row, self._sqs(needs.row)

        def read() -> FoundQueue:
            found = url or str(
                client.get_queue_url(
                    QueueName=address.name, QueueOwnerAWSAccountId=address.account
                )["QueueUrl"]
            )
            answer = client.get_queue_attributes(QueueUrl=found, AttributeNames=["All"])
            tags = client.list_queue_tags(QueueUrl=found).get("Tags", {})
            return FoundQueue(found, answer["Attributes"], tags)

        try:
            return self._asked(row.credential_profile, read, about=f"queue {address.name}")
        except ProvisioningError as error:
            if _code(error.__cause__) in _NO_QUEUE:
                return None
            raise

    def _sqs(self, row: EventQueue) -> Any:
        endpoint_url = sqs_endpoint(row.url) if row.url else ""
        return self._client("sqs", row.region, endpoint_url, row.credential_profile)

    def _s3(self, bucket: BucketNeeds) -> Any:
        return self._client("s3", bucket.region, bucket.endpoint_url, bucket.profile)

    def _client(self, service: str, region: str, endpoint_url: str, profile: str) -> Any:
        def make() -> Any:
            return aws_client(
                service,
                region=region,
                endpoint_url=endpoint_url,
                profile=self._profile or profile,
            )

        try:
            return self._asked(profile, make)
        except ReplicationError as error:
            raise ProvisioningError(str(error.detail), hint=MEANINGS[error.code].hint) from error

    def _patiently(
        self,
        profile: str,
        request: Callable[[], _Answer],
        *,
        again_on: set[str],
        seconds: float,
        about: str = "",
    ) -> _Answer:
        """The answer, asked for again while AWS may not know yet what was made just now."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self._asked(profile, request, about=about)
            except ProvisioningError as error:
                if _code(error.__cause__) not in again_on or time.monotonic() > until:
                    raise
            time.sleep(_ASK_AGAIN_SECONDS)

    def _asked(self, profile: str, request: Callable[[], _Answer], *, about: str = "") -> _Answer:
        """The answer to a request.

        Raises:
            ProvisioningError: what AWS answered, and the fix.
        """
        try:
            return request()
        except ClientError as error:
            answer = error.response["Error"]
            what = f"{error.operation_name}: {_code(error)}: {answer.get('Message', '')}"
            raise ProvisioningError(
                f"{about}: {what}" if about else what,
                hint=_hint(error, profile=self._profile or profile),
            ) from error
        except _NOT_LOGGED_IN as error:
            raise ProvisioningError(
                str(error),
                hint="Log in as an administrator of the account (aws login, AWS_PROFILE …), or "
                "name a credential profile with --profile (docs/guides/credentials.md).",
            ) from error
        except BotoCoreError as error:
            raise ProvisioningError(
                f"{about}: {error}" if about else str(error),
                hint="Check the region, the endpoint URL and the way there; then run it again.",
            ) from error


def _code(error: BaseException | None) -> str:
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def _hint(error: ClientError, *, profile: str) -> str:
    code = _code(error)
    if code in _CREDENTIALS:
        return f"Check the access key, secret or role behind the credential profile {profile!r}."
    if code in _DENIED or error.response["ResponseMetadata"].get("HTTPStatusCode") == 403:
        name = error.operation_name
        return (
            f"Grant {_ACTIONS.get(name, f'sqs:{name}')} to the credential profile {profile!r}, or "
            "name an administrator's with --profile. It must be of the account that the queue is "
            "in, and so must the bucket."
        )
    return _HINTS.get(code, "Mend what it says; then run it again: what is done stays done.")
