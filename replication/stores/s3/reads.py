"""Reads objects of one bucket with our own signatures and transport.

boto3 says what the credentials and the bucket's URL are, and what a refusal means. A GET through
boto3 takes several times the CPU. It is only used where this module can't be: see
`S3Reads.is_supported`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from replication.stores.s3.identity import check_s3
from replication.stores.s3.signing import canonical_query, object_path, sign
from replication.stores.signing_keys import Credentials
from replication.stores.transport import Answer, Pool
from replication.stores.transport.fibers import run_blocking

# Error documents are shorter.
_ERROR_BYTES_AT_MOST = 64 * 1024
# The begin of an error. What follows is not always XML: it repeats the key, which may have
# characters that XML 1.0 can't have.
_ERROR = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?<Error[^>]*>\s*<Code>([\w.]+)</Code>"
    rb"\s*(?:<Message>([^<]*)</Message>)?"
)
# Directory buckets (S3 Express) need another kind of signature, and so do aliases of Outposts.
_DIRECTORY_BUCKET = "--x-s3"
_OUTPOSTS_ALIAS = "--op-s3"
# Asks S3 for its checksums, which costs nothing extra.
_WITH_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}


def is_directory_bucket(bucket: str) -> bool:
    """Whether the name is one of S3 Express."""
    return bucket.endswith(_DIRECTORY_BUCKET)


class _Place(NamedTuple):
    """Where the bucket is. The path is quoted and ends with a slash."""

    origin: str
    host: str
    path: str


class S3Reads:
    """Reads objects of one bucket, with the configuration of `client`."""

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
        self._region = client.meta.region_name
        self._cached_place: _Place | None = None

    @property
    def is_supported(self) -> bool:
        """False for access points, directory buckets and Outposts, which need boto3."""
        return ":" not in self._bucket and not self._bucket.endswith(
            (_DIRECTORY_BUCKET, _OUTPOSTS_ALIAS)
        )

    def get(self, key: str, *, headers: Mapping[str, str], version_id: str = "") -> Answer:
        """GET an object, or the range that `headers` name.

        Raises:
            ClientError: S3 refused; the same error as boto3 raises.
            BotoCoreError: there are no credentials.
            TransportError: there was no answer, or one that is not S3's.
        """
        query = canonical_query({"versionId": version_id}) if version_id else ""
        wanted = {name.lower(): value for name, value in headers.items()}
        if "range" not in wanted:
            wanted |= _WITH_CHECKSUMS
        answer = self._send("GET", key, query, wanted, operation="GetObject")
        return self._checked(answer, "GetObject")

    def head(self, key: str) -> Answer | None:
        """Describe an object by a HEAD; None for a refusal, which can't say its reason.

        Raises what `get` raises, except ClientError.
        """
        with self._send("HEAD", key, "", _WITH_CHECKSUMS, operation="HeadObject") as answer:
            return answer if answer.status < 300 else None

    def list_page(self, parameters: Mapping[str, str]) -> bytes:
        """GET a page of ListObjectsV2, as S3 writes it. Raises what `get` raises."""
        query = canonical_query(parameters)
        with self._send("GET", "", query, {}, operation="ListObjectsV2") as answer:
            return self._checked(answer, "ListObjectsV2").read_all()

    def _send(
        self, method: str, key: str, query: str, headers: Mapping[str, str], *, operation: str
    ) -> Answer:
        place = self._place()
        path = place.path + object_path(key)
        signed = sign(
            method,
            path,
            query,
            {"host": place.host, **headers, **self._payer},
            credentials=self._frozen_credentials(),
            region=self._region,
            at=datetime.now(UTC),
        )
        del signed["host"]  # the transport sends it
        answer = self._pool.request(
            method,
            f"{place.origin}{path}?{query}" if query else place.origin + path,
            headers=[
                ("User-Agent", "s3sync"),
                ("Accept-Encoding", "identity"),
                *signed.items(),
            ],
        )
        check_s3(answer, operation)
        return answer

    def _checked(self, answer: Answer, operation: str) -> Answer:
        if answer.status not in {200, 206}:
            self._raise_client_error(answer, operation)
        return answer

    def _frozen_credentials(self) -> Credentials:
        """The credentials to sign with now.

        They are frozen, so that all parts of them are of the same renewal. A renewal is
        a request to AWS, so in a fiber it runs on a worker thread.
        """
        credentials = self._credentials
        frozen: Any
        if isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed():
            frozen = run_blocking(credentials.get_frozen_credentials)
        else:
            frozen = credentials.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def _place(self) -> _Place:
        """Where the bucket is, by botocore's rules for regions, addressing and endpoints.

        botocore can only give a signed URL, and signing may renew the credentials by a request to
        AWS. So in a fiber it runs on a worker thread. Not a cached_property: before Python 3.12,
        that has one lock for all stores.
        """
        if self._cached_place is None:
            url = urlsplit(
                run_blocking(
                    partial(
                        self._client.generate_presigned_url,
                        "get_object",
                        Params={"Bucket": self._bucket, "Key": "k"},
                    )
                )
            )
            self._cached_place = _Place(
                f"{url.scheme}://{url.netloc}", url.netloc, url.path.removesuffix("k")
            )
        return self._cached_place

    def _raise_client_error(self, answer: Answer, operation: str) -> NoReturn:
        with answer:
            body = answer.read_beginning(_ERROR_BYTES_AT_MOST)
        shape = self._client.meta.service_model.operation_model(operation).output_shape
        parsed = create_parser("rest-xml").parse(
            {"status_code": answer.status, "headers": answer.headers.lower, "body": body}, shape
        )
        if parsed["Error"]["Code"].isdecimal() and (error := _ERROR.match(body)):
            code, message = (each.decode(errors="replace") for each in error.groups(b""))
            parsed["Error"] |= {"Code": code, "Message": message}
        raise ClientError(parsed, operation)
