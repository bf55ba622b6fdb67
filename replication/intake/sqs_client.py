"""Calls SQS's JSON protocol: botocore signs the requests, our own transport sends them.

A call through boto3 takes several times the CPU.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.model import StructureShape
from botocore.parsers import create_parser

from replication.stores.aws import aws_credentials, sqs_endpoint
from replication.stores.pools import new_pool
from replication.stores.profile_use import Service, check_use
from replication.stores.transport import Pool, TransportError

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
            BotoCoreError: the request could not be signed.
            TransportError: there was no answer, or one that is not JSON.
            ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials;
                SOURCE_PROFILE_REFUSED, if it may not be used with the queue's endpoint.
        """
        payload = {"QueueUrl": self._url, **arguments}
        # Parsed here, not in the constructor: an invalid URL must fail this call, not a poll loop.
        endpoint_url = sqs_endpoint(self._url)
        check_use(self._profile, Service.SQS, endpoint=endpoint_url)
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
        pool = _pool(self._max_wait_seconds)
        headers = [("User-Agent", "s3sync"), *request.headers.items()]
        with pool.request("POST", url, headers=headers, body=body) as answer:
            content = answer.read_all()
        if answer.status != 200:
            _raise(operation, answer.status, answer.headers.lower, content)
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise TransportError(f"the answer is not JSON: {content[:100]!r}") from error
        return found


@lru_cache(maxsize=8)
def _pool(max_wait_seconds: float) -> Pool:
    """One pool for all queues of a process."""
    return new_pool(kept_at_most=MAX_CONCURRENT_CALLS, long_poll_seconds=max_wait_seconds)


def _raise(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
    response = {"status_code": status, "headers": headers, "body": body}
    no_members = StructureShape("Error", {"type": "structure", "members": {}})
    raise ClientError(create_parser("json").parse(response, no_members), operation)
