"""Calls SQS's JSON protocol: botocore signs the requests, our own transport sends them.

A call through boto3 takes several times the CPU; it is only used behind a proxy.
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

MAX_CONCURRENT_CALLS = 32  # for one queue; this many connections are kept


class SqsClient:
    """Calls the operations of one queue. Safe to use from many threads."""

    def __init__(self, *, url: str, region: str, profile: str, max_wait_seconds: float) -> None:
        """
        Args:
            url: the queue's URL.
            max_wait_seconds: the longest long poll; added to the read timeout.
        """
        self._url = url
        self._region = region
        self._profile = profile
        self._max_wait_seconds = max_wait_seconds

    def call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation on the queue; returns the answer of SQS.

        Raises:
            ClientError: SQS refused.
            BotoCoreError: the request could not be signed, or not sent through the proxy.
            TransportError: there was no answer, or one that is not JSON.
            ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
        """
        payload = {"QueueUrl": self._url, **arguments}
        # Parsed here, not in the constructor: an invalid URL must fail this call, not a poll loop.
        endpoint_url = sqs_endpoint(self._url)
        if _has_proxy(endpoint_url):
            return self._call_through_boto3(operation, endpoint_url, payload)
        credentials = aws_credentials(region=self._region, profile=self._profile)
        if credentials is None:
            raise NoCredentialsError
        body = json.dumps(payload).encode()
        url = f"{endpoint_url}/"
        request = AWSRequest(
            method="POST",
            url=url,
            data=body,
            headers={
                # Given here, or else the signer parses the URL for it, twice.
                "Host": urlsplit(self._url).netloc,
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{operation}",
            },
        )
        # Frozen, so that a refresh can't come between reading the key id and the secret.
        SigV4Auth(credentials.get_frozen_credentials(), "sqs", self._region).add_auth(request)
        limits = settings.S3SYNC
        pool = _pool(
            limits.connect_timeout_seconds,
            limits.read_timeout_seconds + self._max_wait_seconds,
            os.environ.get("AWS_CA_BUNDLE", ""),  # as in boto3
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

    def _call_through_boto3(
        self, operation: str, endpoint_url: str, payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        client = aws_client(
            "sqs",
            region=self._region,
            endpoint_url=endpoint_url,
            profile=self._profile,
            long_poll_seconds=self._max_wait_seconds,
            connections=MAX_CONCURRENT_CALLS,
        )
        found: dict[str, Any] = getattr(client, xform_name(operation))(**payload)
        return found


@lru_cache(maxsize=8)
def _pool(connect_seconds: float, read_seconds: float, ca_file: str) -> Pool:
    """One pool for all queues of a process."""
    return Pool(
        timeouts=Timeouts(connect_seconds, read_seconds),
        kept_at_most=MAX_CONCURRENT_CALLS,
        ca_file=ca_file,
    )


@lru_cache(maxsize=128)
def _has_proxy(endpoint_url: str) -> bool:
    """Whether the environment names a proxy for this URL, by botocore's rules. Read only once."""
    return urlsplit(endpoint_url).scheme in get_environ_proxies(endpoint_url)


def _raise(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
    response = {"status_code": status, "headers": headers, "body": body}
    no_members = StructureShape("Error", {"type": "structure", "members": {}})
    raise ClientError(create_parser("json").parse(response, no_members), operation)
