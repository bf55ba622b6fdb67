"""GETs objects of one bucket: botocore signs the requests, our own transport sends them.

A GET through boto3 takes several times the CPU. It is only used where this module can't be: see
`S3Reads.is_supported`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from replication.stores.s3.identity import check_s3
from replication.stores.transport import Answer, Pool
from replication.stores.transport.fibers import run_blocking

# Error documents are shorter.
_ERROR_BYTES_AT_MOST = 64 * 1024
# Directory buckets (S3 Express) need another kind of signature.
_DIRECTORY_BUCKET = "--x-s3"


def is_directory_bucket(bucket: str) -> bool:
    """Whether the name is one of S3 Express."""
    return bucket.endswith(_DIRECTORY_BUCKET)


class S3Reads:
    """GETs objects of one bucket, with the configuration of `client`."""

    def __init__(
        self, client: Any, credentials: Any, *, bucket: str, pool: Pool, requester_pays: bool
    ) -> None:
        """
        Args:
            credentials: botocore credentials, which renew themselves.
        """
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._pool = pool
        self._payer = {"x-amz-request-payer": "requester"} if requester_pays else {}
        self._cached_base_url = ""

    @property
    def is_supported(self) -> bool:
        """False for access points and directory buckets, which need boto3."""
        return ":" not in self._bucket and not is_directory_bucket(self._bucket)

    def get(self, key: str, *, headers: Mapping[str, str], version_id: str = "") -> Answer:
        """GET an object, or the range that `headers` name.

        Raises:
            ClientError: S3 refused; the same error as boto3 raises.
            BotoCoreError: the request could not be signed.
            TransportError: there was no answer, or one that is not S3's.
        """
        url = f"{self._base_url()}{quote(key, safe='/~')}"
        if version_id:
            url += f"?versionId={quote(version_id, safe='~')}"
        if "Range" not in headers:
            # Asks S3 for its checksums, which costs nothing extra.
            headers = {**headers, "x-amz-checksum-mode": "ENABLED"}
        return self._get(url, headers, operation="GetObject")

    def list_page(self, parameters: Mapping[str, str]) -> bytes:
        """GET a page of ListObjectsV2, as S3 writes it. Raises what `get` raises."""
        url = f"{self._base_url()}?{urlencode(parameters, quote_via=quote, safe='~')}"
        with self._get(url, {}, operation="ListObjectsV2") as answer:
            return answer.read_all()

    def _get(self, url: str, headers: Mapping[str, str], *, operation: str) -> Answer:
        request = AWSRequest(method="GET", url=url, headers={**headers, **self._payer})
        # With a Host header the signer does not parse the URL for it, which it does twice.
        request.headers["Host"] = urlsplit(url).netloc
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
        check_s3(answer, operation)
        if answer.status not in {200, 206}:
            self._raise_client_error(answer, operation)
        return answer

    @property
    def _frozen_credentials(self) -> Any:
        """Frozen, so that the key and the secret are of the same renewal.

        A renewal is a request to AWS, so in a fiber it runs on a worker thread.
        """
        credentials = self._credentials
        if isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed():
            return run_blocking(credentials.get_frozen_credentials)
        return credentials.get_frozen_credentials()

    def _base_url(self) -> str:
        """The URL before the key, by botocore's rules for regions, addressing and endpoints.

        botocore can only give a signed URL, and signing may renew the credentials by a request to
        AWS. So in a fiber it runs on a worker thread. Not a cached_property: before Python 3.12,
        that has one lock for all stores.
        """
        if not self._cached_base_url:
            url = run_blocking(
                partial(
                    self._client.generate_presigned_url,
                    "get_object",
                    Params={"Bucket": self._bucket, "Key": "k"},
                )
            )
            self._cached_base_url = str(url).partition("?")[0].removesuffix("k")
        return self._cached_base_url

    def _raise_client_error(self, answer: Answer, operation: str) -> NoReturn:
        with answer:
            body = answer.read_beginning(_ERROR_BYTES_AT_MOST)
        shape = self._client.meta.service_model.operation_model(operation).output_shape
        parsed = create_parser("rest-xml").parse(
            {"status_code": answer.status, "headers": answer.headers.lower, "body": body}, shape
        )
        raise ClientError(parsed, operation)
