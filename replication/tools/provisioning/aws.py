"""Provisioning's requests to AWS. Errors are translated here, once, each with a fix."""

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
from replication.tools.provisioning.desired import DesiredBucket, DesiredQueue, bucket_without_rules
from replication.tools.provisioning.notifications import is_same, without_answer
from replication.tools.provisioning.policies import allowed_buckets
from replication.tools.provisioning.queues import TAG
from replication.tools.provisioning.steps import Found, FoundQueue, PutNotifications, SetAttributes

_Answer = TypeVar("_Answer")

# S3 tests a queue before it accepts it in a notification, and a new queue or policy takes up to a
# minute to be known everywhere. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
PROPAGATION_SECONDS = 75
_RETRY_PAUSE_SECONDS = 5

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
    "NoSuchBucket": "Make the bucket, or correct the source's bucket name and region.",
    "AWS.SimpleQueueService.QueueDeletedRecently": "SQS keeps a deleted queue's name for a minute: "
    "run provision again then.",
    "QueueDeletedRecently": "SQS keeps a deleted queue's name for a minute: run provision again "
    "then.",
    "InvalidArgument": "S3 tests every receiver of the configuration, also those of others, and "
    "refuses all of it if one is missing or does not let S3 send: fix or remove that receiver. A "
    "bucket of another account or region can't notify this queue.",
}


class Aws:
    """AWS, called with one credential profile, or with the profiles of queues and sources."""

    def __init__(self, *, profile: str) -> None:
        """`profile` replaces all other profiles; empty: each queue and source uses its own."""
        self._profile = profile

    def new_address(self, row: EventQueue) -> QueueAddress:
        """The address of a queue that the database does not have yet.

        Raises:
            ProvisioningError: AWS does not accept the credentials.
        """
        client = self._client("sts", row.region, "", row.credential_profile)
        answer = self._call(row.credential_profile, client.get_caller_identity)
        return QueueAddress(row.region, str(answer["Account"]), row.name)

    def find(self, desired: DesiredQueue) -> Found:
        """What exists of a desired queue.

        Raises:
            ProvisioningError: something may not be read.
        """
        queue = self._queue(desired, desired.address, desired.row.url)
        allowed = allowed_buckets(queue.policy) if queue else set()
        known = {bucket.name for bucket in desired.buckets}
        former = tuple(
            bucket_without_rules(name, desired.row)
            for name in sorted(allowed - known)
            if not desired.is_partial
        )
        account = desired.address.account
        notifications = {
            **{each.name: self.notifications(each, account=account) for each in desired.buckets},
            **{each.name: self._former_notifications(each, account=account) for each in former},
        }
        return Found(
            queue,
            self._queue(desired, desired.address.dead_letters, ""),
            notifications,
            former=former,
        )

    def make_queue(
        self, row: EventQueue, address: QueueAddress, attributes: Mapping[str, str]
    ) -> str:
        """Make a queue with our tag, and return its URL."""
        client = self._sqs(row)
        answer = self._call_with_retry(
            row.credential_profile,
            lambda: client.create_queue(
                QueueName=address.name, Attributes=dict(attributes), tags=dict(TAG)
            ),
            # The dead-letter queue was just made, and SQS may not know it everywhere yet.
            retry_on={*_NO_QUEUE, "InvalidParameterValue"},
            seconds=PROPAGATION_SECONDS,
        )
        return str(answer["QueueUrl"])

    def set_attributes(self, row: EventQueue, change: SetAttributes) -> None:
        """Set these attributes of a queue; an empty value removes the attribute."""
        client = self._sqs(row)
        self._call(
            row.credential_profile,
            lambda: client.set_queue_attributes(
                QueueUrl=change.url, Attributes=dict(change.attributes)
            ),
        )

    def remove_queue(self, row: EventQueue, url: str) -> None:
        """Delete a queue."""
        client = self._sqs(row)
        self._call(row.credential_profile, lambda: client.delete_queue(QueueUrl=url))

    def notifications(self, bucket: DesiredBucket, *, account: str) -> dict[str, Any]:
        """The bucket's notification configuration."""
        client = self._s3(bucket)
        answer = self._call(
            bucket.profile,
            lambda: client.get_bucket_notification_configuration(
                Bucket=bucket.name, ExpectedBucketOwner=account
            ),
            about=f"bucket {bucket.name}",
        )
        return without_answer(answer)

    def put_notifications(self, change: PutNotifications, *, retry_seconds: float) -> None:
        """Replace the bucket's notifications, unless they changed since the plan was made.

        Args:
            retry_seconds: how long to repeat a refused request: S3 may not know a new queue yet.

        Raises:
            ProvisioningError: the notifications changed, or S3 refuses them.
        """
        bucket, client = change.bucket, self._s3(change.bucket)
        # S3 has no conditional write here: a change between these two requests is lost.
        if not is_same(self.notifications(bucket, account=change.account), change.before):
            raise ProvisioningError(
                f"bucket {bucket.name}: its notifications changed since the plan was made, so they "
                "were not written",
                hint="Run provision again to make a new plan.",
            )
        self._call_with_retry(
            bucket.profile,
            lambda: client.put_bucket_notification_configuration(
                Bucket=bucket.name,
                ExpectedBucketOwner=change.account,
                NotificationConfiguration=change.after,
            ),
            retry_on={"InvalidArgument"},
            seconds=retry_seconds,
            about=f"bucket {bucket.name}",
        )

    def _former_notifications(self, bucket: DesiredBucket, *, account: str) -> dict[str, Any]:
        try:
            return self.notifications(bucket, account=account)
        except ProvisioningError as error:
            if _code(error.__cause__) == "NoSuchBucket":
                return {}
            raise

    def _queue(self, desired: DesiredQueue, address: QueueAddress, url: str) -> FoundQueue | None:
        row, client = desired.row, self._sqs(desired.row)

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
            return self._call(row.credential_profile, read, about=f"queue {address.name}")
        except ProvisioningError as error:
            if _code(error.__cause__) in _NO_QUEUE:
                return None
            raise

    def _sqs(self, row: EventQueue) -> Any:
        endpoint_url = sqs_endpoint(row.url) if row.url else ""
        return self._client("sqs", row.region, endpoint_url, row.credential_profile)

    def _s3(self, bucket: DesiredBucket) -> Any:
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
            return self._call(profile, make)
        except ReplicationError as error:
            raise ProvisioningError(str(error.detail), hint=MEANINGS[error.code].hint) from error

    def _call_with_retry(
        self,
        profile: str,
        request: Callable[[], _Answer],
        *,
        retry_on: set[str],
        seconds: float,
        about: str = "",
    ) -> _Answer:
        """As `_call`, repeated for so long on these codes: AWS may not know yet what was made."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self._call(profile, request, about=about)
            except ProvisioningError as error:
                if _code(error.__cause__) not in retry_on or time.monotonic() > until:
                    raise
            time.sleep(_RETRY_PAUSE_SECONDS)

    def _call(self, profile: str, request: Callable[[], _Answer], *, about: str = "") -> _Answer:
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
                hint="Check the region, the endpoint URL and the network; then run provision "
                "again.",
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
            "name a profile of an administrator with --profile. Profile, queue and bucket must be "
            "of the same account."
        )
    return _HINTS.get(
        code, "Fix what the message says; then run provision again: steps that are done stay done."
    )
