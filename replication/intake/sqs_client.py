"""Calls of SQS's JSON protocol, signed by botocore and carried by our transport.

boto3's whole way takes several times the CPU. It is still taken where a proxy stands between.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import urlsplit

from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.model import StructureShape
from botocore.parsers import create_parser
from botocore.utils import get_environ_proxies
from django.conf import settings

from replication.stores.aws import aws_client, aws_credentials, sqs_endpoint
from replication.stores.transport import Pool, Timeouts, TransportError

CALLS_AT_ONCE = 32  # of one queue; so many connections are kept


class Calls:
    """What can be asked of one queue. Safe to use from many threads."""

    def __init__(self, *, url: str, region: str, profile: str, longest_wait_seconds: float) -> None:
        """
        Args:
            url: the queue's.
            longest_wait_seconds: how long SQS may hold an answer back by agreement.
        """
        self._url = url
        self._host = urlsplit(url).netloc
        self._endpoint_url = sqs_endpoint(url)
        self._region = region
        self._profile = profile
        self._longest_wait_seconds = longest_wait_seconds

    def ask(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Ask it of the queue; what SQS answered.

        Raises:
            ClientError: SQS refused.
            BotoCoreError: the request could not be signed, or not be sent through a proxy.
            TransportError: there was no answer.
            ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
        """
        asked = {"QueueUrl": self._url, **arguments}
        if _has_proxy(self._endpoint_url):
            return self._ask_through_boto3(operation, asked)
        credentials = aws_credentials(region=self._region, profile=self._profile)
        if credentials is None:
            raise NoCredentialsError
        body = json.dumps(asked).encode()
        url = f"{self._endpoint_url}/"
        request = AWSRequest(
            method="POST",
            url=url,
            data=body,
            headers={
                # Named, the signer need not find it out of the URL, which it does twice.
                "Host": self._host,
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{operation}",
            },
        )
        # Frozen, for the key and the secret must be of the same renewal.
        SigV4Auth(credentials.get_frozen_credentials(), "sqs", self._region).add_auth(request)
        limits = settings.S3SYNC
        pool = _pool(
            limits.connect_timeout_seconds,
            limits.read_timeout_seconds + self._longest_wait_seconds,
            os.environ.get("AWS_CA_BUNDLE", ""),  # as boto3
        )
        headers = [("User-Agent", "s3sync"), *request.headers.items()]
        with pool.request("POST", url, headers=headers, body=body) as answer:
            content = answer.read()
        if answer.status != 200:
            _raise(operation, answer.status, answer.headers.lower, content)
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise TransportError(f"the answer is not JSON: {content[:100]!r}") from error
        return found

    def _ask_through_boto3(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        client = aws_client(
            "sqs",
            region=self._region,
            endpoint_url=self._endpoint_url,
            profile=self._profile,
            holds_back_seconds=self._longest_wait_seconds,
            connections=CALLS_AT_ONCE,
        )
        found: dict[str, Any] = getattr(client, xform_name(operation))(**asked)
        return found


@lru_cache(maxsize=8)
def _pool(connect_seconds: float, read_seconds: float, ca_file: str) -> Pool:
    """One for all queues of a process."""
    return Pool(
        timeouts=Timeouts(connect_seconds, read_seconds),
        kept_at_most=CALLS_AT_ONCE,
        ca_file=ca_file,
    )


@lru_cache(maxsize=128)
def _has_proxy(endpoint_url: str) -> bool:
    """By the environment, which is looked at once; it has no other words for it than botocore's."""
    return urlsplit(endpoint_url).scheme in get_environ_proxies(endpoint_url)


def _raise(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
    response = {"status_code": status, "headers": headers, "body": body}
    nothing_else = StructureShape("Error", {"type": "structure", "members": {}})
    raise ClientError(create_parser("json").parse(response, nothing_else), operation)
