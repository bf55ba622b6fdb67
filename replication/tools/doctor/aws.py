"""What doctor asks of AWS beside what the stores ask. Refusals are translated here, once."""

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


class Why(Enum):
    """What a refusal means."""

    DENIED = "may not"
    CREDENTIALS = "not known"
    MISSING = "not there"
    INVALID = "asked in vain, as was meant"
    UNREACHABLE = "no answer"
    OTHER = "something else"


class Refusal(Exception):
    """AWS refused, or could not be asked; the text is its own."""

    def __init__(self, why: Why, said: str) -> None:
        super().__init__(said)
        self.why = why


@dataclass(frozen=True)
class Listed:
    """The first keys of a bucket; `bucket_region` is empty where the server does not tell."""

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
    """Where S3 is asked for this source: AWS's address, unless source or environment say another.

    Raises:
        Refusal: boto3 has no address for the region, or AWS_PROFILE names what is not there.
    """
    return str(_s3(source, "default").meta.endpoint_url)


def caller_arn(*, profile: str, region: str) -> str:
    """As whom AWS knows a profile. It tells everybody, whatever may be done otherwise.

    Raises:
        Refusal: see there.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sts = _client("sts", region=region, profile=profile)
    return str(_asked(sts.get_caller_identity)["Arn"])


def sts_is_of_aws(region: str) -> bool:
    """Whether STS is AWS's own, and not a stand-in that the environment names."""
    url = str(_client("sts", region=region, profile="default").meta.endpoint_url)
    return is_of_aws(url)


def is_of_aws(url: str) -> bool:
    """Whether an address is one of AWS's own."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def list_some(source: Source, *, prefix: str, at_most: int) -> Listed:
    """The first keys below a prefix, with the service's own permission to list.

    Raises:
        ReplicationError: see raise_translated.
    """
    try:
        answer = _s3(source, source.credential_profile).list_objects_v2(
            Bucket=source.bucket, Prefix=prefix, MaxKeys=at_most
        )
    except (ClientError, BotoCoreError) as error:
        raise_translated(error)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    keys = tuple(entry["Key"] for entry in answer.get("Contents", []))
    return Listed(keys, headers.get("x-amz-bucket-region", ""))


def notifications(source: Source, *, profile: str) -> dict[str, Any]:
    """Whom the bucket tells what.

    Raises:
        Refusal: see there.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    s3 = _s3(source, profile)
    return dict(_asked(lambda: s3.get_bucket_notification_configuration(Bucket=source.bucket)))


def queue_attributes(row: EventQueue, *, profile: str) -> Mapping[str, str]:
    """What the queue is like.

    Raises:
        Refusal: see there.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sqs = _sqs(row, profile)
    return _attributes(sqs, row.url)


def dead_letter_attributes(
    row: EventQueue, attributes: Mapping[str, str], *, profile: str
) -> Mapping[str, str]:
    """What the queue's own dead-letter queue is like.

    Raises:
        Refusal: see there.
        ReplicationError: CREDENTIAL_PROFILE.
    """
    sqs, arn = (
        _sqs(row, profile),
        str(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]),
    )
    *_, account, name = arn.split(":")
    url = _asked(lambda: sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account))
    return _attributes(sqs, url["QueueUrl"])


def try_to_delete(row: EventQueue) -> None:
    """Delete no message: a receipt that was never given out is refused in the answer, one by one.

    Raises:
        Refusal: all deleting is refused.
    """
    entry = {"Id": "0", "ReceiptHandle": _NO_RECEIPT}
    sqs = _sqs(row, row.credential_profile)
    _asked(lambda: sqs.delete_message_batch(QueueUrl=row.url, Entries=[entry]))


def try_to_hide(row: EventQueue) -> None:
    """Hide no message, in the same way.

    Raises:
        Refusal: all hiding is refused.
    """
    entry = {"Id": "0", "ReceiptHandle": _NO_RECEIPT, "VisibilityTimeout": 0}
    sqs = _sqs(row, row.credential_profile)
    _asked(lambda: sqs.change_message_visibility_batch(QueueUrl=row.url, Entries=[entry]))


def try_to_receive(row: EventQueue) -> None:
    """Receive no message: none at all is asked for, which SQS calls invalid.

    A real receive would count towards the queue's maxReceiveCount, and hide what it brings.

    Raises:
        Refusal: INVALID, where SQS did not say that it is not permitted.
    """
    sqs = _sqs(row, row.credential_profile)
    _asked(lambda: sqs.receive_message(QueueUrl=row.url, MaxNumberOfMessages=0))


_NO_RECEIPT = "s3sync-doctor"


def _attributes(sqs: Any, url: str) -> dict[str, str]:
    answer = _asked(lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))
    return dict(answer["Attributes"])


def _s3(source: Source, profile: str) -> Any:
    return _client("s3", region=source.region, profile=profile, endpoint_url=source.endpoint_url)


def _sqs(row: EventQueue, profile: str) -> Any:
    return _client("sqs", region=row.region, profile=profile, endpoint_url=sqs_endpoint(row.url))


def _client(service: str, *, region: str, profile: str, endpoint_url: str = "") -> Any:
    return _asked(
        lambda: aws_client(service, region=region, endpoint_url=endpoint_url, profile=profile)
    )


def _asked(request: Callable[[], _Answer]) -> _Answer:
    try:
        return request()
    except ClientError as error:
        _refuse(error)
    except _NO_CREDENTIALS as error:
        raise Refusal(Why.CREDENTIALS, str(error)) from error
    except (HTTPClientError, ConnectError) as error:
        raise Refusal(Why.UNREACHABLE, str(error)) from error
    except (BotoCoreError, ValueError) as error:  # a region or an address that is none
        raise Refusal(Why.OTHER, str(error)) from error


def _refuse(error: ClientError) -> NoReturn:
    answer: Any = error.response
    code = answer["Error"].get("Code", "")
    said = f"{error.operation_name}: {code}: {answer['Error'].get('Message', '')}"
    if error.operation_name == "AssumeRole" or code in _CREDENTIALS:
        why = Why.CREDENTIALS
    elif code in _MISSING:
        why = Why.MISSING
    elif code in _INVALID:
        why = Why.INVALID
    elif code in _DENIED or answer["ResponseMetadata"].get("HTTPStatusCode") == 403:
        why = Why.DENIED
    else:
        why = Why.OTHER
    raise Refusal(why, said) from error
