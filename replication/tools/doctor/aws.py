"""Doctor's own requests to AWS, beside those of the stores. Errors are translated here, once."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as ConnectError

from replication.models import EventQueue, Source
from replication.stores.aws import aws_client, sqs_endpoint
from replication.stores.s3.errors import raise_translated

_Answer = TypeVar("_Answer")


class RefusalReason(Enum):
    """Why AWS did not do what was asked."""

    DENIED = "the permission is missing"
    CREDENTIALS = "AWS accepts no credentials of ours, or there are none"
    MISSING = "the bucket or queue does not exist"
    INVALID = "the request is invalid, as the try_to_… functions intend"
    UNREACHABLE = "no answer"
    OTHER = "something else"


class Refusal(Exception):
    """AWS refused a request, or could not be asked; the text is AWS's or botocore's own."""

    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Listing:
    """The first keys of a bucket; `bucket_region` is empty where the server does not tell it."""

    keys: tuple[str, ...]
    bucket_region: str


_MISSING = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NoSuchBucket"}
_DENIED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled"}
_INVALID = {"InvalidParameterValue", "ReadCountOutOfRange"}
_CREDENTIALS = {
    *("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"),
    *("ExpiredToken", "ExpiredTokenException", "InvalidToken"),
}
_NO_CREDENTIALS = (
    *(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError),
    *(ProfileNotFound, ConfigNotFound, SSOError, TokenRetrievalError),
)


def s3_url(source: Source) -> str:
    """The URL of S3 for this source: AWS's own, unless the source or the environment names another.

    Raises:
        Refusal: boto3 has no address for the region, or AWS_PROFILE names a missing profile.
    """
    return str(_s3(source, "default").meta.endpoint_url)


def caller_arn(*, profile: str, region: str) -> str:
    """The identity that AWS gives a profile. Asking for it needs no permission.

    Raises:
        Refusal: AWS does not tell.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sts = _client("sts", region=region, profile=profile)
    return str(_call(sts.get_caller_identity)["Arn"])


def sts_is_aws(region: str) -> bool:
    """Whether STS is AWS's own, not a stand-in that the environment names."""
    url = str(_client("sts", region=region, profile="default").meta.endpoint_url)
    return is_aws_url(url)


def is_aws_url(url: str) -> bool:
    """Whether a URL is one of AWS's own."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def list_first_keys(source: Source, *, prefix: str, limit: int) -> Listing:
    """List the first keys below a prefix, with the service's own permission to list.

    Raises:
        ReplicationError: see raise_translated.
    """
    try:
        payer = {"RequestPayer": "requester"} if source.requester_pays else {}
        answer = _s3(source, source.credential_profile).list_objects_v2(
            Bucket=source.bucket, Prefix=prefix, MaxKeys=limit, **payer
        )
    except (ClientError, BotoCoreError) as error:
        raise_translated(error)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    keys = tuple(entry["Key"] for entry in answer.get("Contents", []))
    return Listing(keys, headers.get("x-amz-bucket-region", ""))


def bucket_notifications(source: Source, *, profile: str) -> dict[str, Any]:
    """The notification configuration of the source's bucket.

    Raises:
        Refusal: the configuration can't be read.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    s3 = _s3(source, profile)
    return dict(_call(lambda: s3.get_bucket_notification_configuration(Bucket=source.bucket)))


def queue_attributes(row: EventQueue, *, profile: str) -> Mapping[str, str]:
    """All attributes of the queue.

    Raises:
        Refusal: the attributes can't be read.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sqs = _sqs(row, profile)
    return _attributes(sqs, row.url)


def dead_letter_attributes(
    row: EventQueue, attributes: Mapping[str, str], *, profile: str
) -> Mapping[str, str]:
    """All attributes of the queue's own dead-letter queue.

    Raises:
        Refusal: the attributes can't be read.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sqs, arn = (
        _sqs(row, profile),
        str(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]),
    )
    *_, account, name = arn.split(":")
    url = _call(lambda: sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account))
    return _attributes(sqs, url["QueueUrl"])


def try_to_delete(row: EventQueue) -> None:
    """Try to delete, without deleting a message: the receipt handle was never given out.

    SQS answers such an entry with an error of its own, inside an answer that succeeds.

    Raises:
        Refusal: SQS refuses all deleting.
    """
    entry = {"Id": "0", "ReceiptHandle": _FALSE_RECEIPT}
    sqs = _sqs(row, row.credential_profile)
    _call(lambda: sqs.delete_message_batch(QueueUrl=row.url, Entries=[entry]))


def try_to_hide(row: EventQueue) -> None:
    """Try to change a visibility timeout, without hiding a message, as `try_to_delete` does.

    Raises:
        Refusal: SQS refuses all hiding.
    """
    entry = {"Id": "0", "ReceiptHandle": _FALSE_RECEIPT, "VisibilityTimeout": 0}
    sqs = _sqs(row, row.credential_profile)
    _call(lambda: sqs.change_message_visibility_batch(QueueUrl=row.url, Entries=[entry]))


def try_to_receive(row: EventQueue) -> None:
    """Try to receive, without receiving a message: SQS calls a request for 0 messages invalid.

    A real receive would count towards the queue's maxReceiveCount, and hide the messages.

    Raises:
        Refusal: INVALID, unless SQS denies receiving or fails otherwise.
    """
    sqs = _sqs(row, row.credential_profile)
    _call(lambda: sqs.receive_message(QueueUrl=row.url, MaxNumberOfMessages=0))


_FALSE_RECEIPT = "s3sync-doctor"


def _attributes(sqs: Any, url: str) -> dict[str, str]:
    answer = _call(lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))
    return dict(answer["Attributes"])


def _s3(source: Source, profile: str) -> Any:
    return _client("s3", region=source.region, profile=profile, endpoint_url=source.endpoint_url)


def _sqs(row: EventQueue, profile: str) -> Any:
    return _client("sqs", region=row.region, profile=profile, endpoint_url=sqs_endpoint(row.url))


def _client(service: str, *, region: str, profile: str, endpoint_url: str = "") -> Any:
    return _call(
        lambda: aws_client(service, region=region, endpoint_url=endpoint_url, profile=profile)
    )


def _call(request: Callable[[], _Answer]) -> _Answer:
    try:
        return request()
    except ClientError as error:
        _refuse(error)
    except _NO_CREDENTIALS as error:
        raise Refusal(RefusalReason.CREDENTIALS, str(error)) from error
    except (HTTPClientError, ConnectError) as error:
        raise Refusal(RefusalReason.UNREACHABLE, str(error)) from error
    except (BotoCoreError, ValueError) as error:  # no such region, or not an address
        raise Refusal(RefusalReason.OTHER, str(error)) from error


def _refuse(error: ClientError) -> NoReturn:
    answer: Any = error.response
    code = answer["Error"].get("Code", "")
    text = f"{error.operation_name}: {code}: {answer['Error'].get('Message', '')}"
    if error.operation_name == "AssumeRole" or code in _CREDENTIALS:
        reason = RefusalReason.CREDENTIALS
    elif code in _MISSING:
        reason = RefusalReason.MISSING
    elif code in _INVALID:
        reason = RefusalReason.INVALID
    elif code in _DENIED or answer["ResponseMetadata"].get("HTTPStatusCode") == 403:
        reason = RefusalReason.DENIED
    else:
        reason = RefusalReason.OTHER
    raise Refusal(reason, text) from error
