"""GETs of one bucket, signed by botocore and carried by our transport.

The whole of boto3's way to a GET takes several times the CPU of what is done here. It is still
there for what this does not do: see `S3Reads.is_possible`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import create_parser
from botocore.utils import get_environ_proxies

from replication.stores.transport import Answer, Pool
from replication.stores.transport.fibers import away

_OPERATION = "GetObject"
# An error says what it has to say in less.
_ERROR_BYTES_AT_MOST = 64 * 1024
# The directory buckets of S3 Express take other signatures.
_DIRECTORY_BUCKET = "--x-s3"


class S3Reads:
    """GETs of one bucket through `client`'s configuration."""

    def __init__(self, client: Any, credentials: Any, *, bucket: str, pool: Pool) -> None:
        """
        Args:
            credentials: botocore's, which renew themselves; None if there are none.
        """
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._pool = pool
        self._found_base_url = ""

    @property
    def is_possible(self) -> bool:
        """Whether these are a bucket and a network for the short way; else take boto3's."""
        is_plain = ":" not in self._bucket and not self._bucket.endswith(_DIRECTORY_BUCKET)
        endpoint_url = self._client.meta.endpoint_url
        has_proxy = urlsplit(endpoint_url).scheme in get_environ_proxies(endpoint_url)
        return is_plain and not has_proxy

    def get(self, key: str, *, headers: Mapping[str, str], version_id: str = "") -> Answer:
        """One GET; the answer is that of an object, or of a range of one.

        Raises:
            ClientError: S3 refused; as boto3 raises it.
            BotoCoreError: it could not be signed.
            TransportError: there was no answer.
        """
        if self._credentials is None:
            raise NoCredentialsError
        base_url = self._base_url()
        url = f"{base_url}{quote(key, safe='/~')}"
        if version_id:
            url += f"?versionId={quote(version_id, safe='~')}"
        request = AWSRequest(method="GET", url=url, headers=headers)
        # Named, the signer need not find it out of the URL, which it does twice.
        request.headers["Host"] = urlsplit(base_url).netloc
        if "Range" not in headers:
            request.headers["x-amz-checksum-mode"] = "ENABLED"  # costs nothing
        S3SigV4Auth(self._frozen_credentials, "s3", self._client.meta.region_name).add_auth(request)
        answer = self._pool.request(
            "GET",
            url,
            headers=[
                ("User-Agent", "s3sync"),
                ("Accept-Encoding", "identity"),
                *request.headers.items(),
            ],
        )
        if answer.status not in {200, 206}:
            self._raise(answer)
        return answer

    @property
    def _frozen_credentials(self) -> Any:
        """Frozen, for the key and the secret must be of the same renewal."""
        credentials = self._credentials
        if isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed():
            return away(credentials.get_frozen_credentials)
        return credentials.get_frozen_credentials()

    def _base_url(self) -> str:
        """Where botocore's rules of regions, styles and endpoints say that the keys are.

        Away, for botocore signs what it is asked for, and may renew the credentials for that; and
        no cached_property, which has one lock for all stores before Python 3.12.
        """
        if not self._found_base_url:
            url = away(
                partial(
                    self._client.generate_presigned_url,
                    "get_object",
                    Params={"Bucket": self._bucket, "Key": "k"},
                )
            )
            self._found_base_url = str(url).partition("?")[0].removesuffix("k")
        return self._found_base_url

    def _raise(self, answer: Answer) -> None:
        with answer:
            body = b""
            while len(body) < _ERROR_BYTES_AT_MOST and (more := answer.read(_ERROR_BYTES_AT_MOST)):
                body += more
        shape = self._client.meta.service_model.operation_model(_OPERATION).output_shape
        parsed = create_parser("rest-xml").parse(
            {"status_code": answer.status, "headers": answer.headers.lower, "body": body}, shape
        )
        raise ClientError(parsed, _OPERATION)
