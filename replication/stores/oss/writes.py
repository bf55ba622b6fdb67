"""PutObject and UploadPart with our own signatures; oss2 takes several times the CPU.

oss2 says what the credentials and the bucket's URL are, and what a refusal means.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import oss2
import oss2.credentials
import oss2.http

from replication.stores.base import Body, Receipt
from replication.stores.oss.credentials import current
from replication.stores.oss.session import OssSession
from replication.stores.oss.signing import canonical_query, sign


class OssWrites:
    """Writes objects and parts to a bucket of oss2's."""

    def __init__(
        self,
        bucket: oss2.Bucket,
        credentials: oss2.credentials.CredentialsProvider,
        session: OssSession,
    ) -> None:
        self._bucket = bucket.bucket_name
        self._region = bucket.region
        self._credentials = credentials
        self._session = session
        # oss2 knows the ways of addressing a bucket, but has no public function for a URL.
        self._base_url = bucket._make_url(bucket.bucket_name, "k").removesuffix("k")
        self._host = urlsplit(self._base_url).netloc

    def put(
        self,
        key: str,
        body: Body,
        *,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Receipt:
        """Send a PUT, and return OSS's receipt for the body.

        Args:
            key: not empty.
            headers: names in lower case; values have one character for each byte (Latin-1).

        Raises:
            OssError: OSS refused, or there are no credentials; the same error as oss2 raises.
            TransportError: there was no answer, or one that is not OSS's.
        """
        signed = sign(
            "PUT",
            self._bucket,
            key,
            parameters,
            {"host": self._host, "user-agent": oss2.http.USER_AGENT, **headers},
            credentials=current(self._credentials),
            region=self._region,
            at=datetime.now(UTC),
        )
        del signed["host"]  # the transport sends it
        # As oss2 does, escape slashes too: so no proxy takes `//` or `..` in a key for a path.
        url = self._base_url + quote(key, safe="")
        if parameters:
            url = f"{url}?{canonical_query(parameters)}"
        answer = self._session.send("PUT", url, headers=signed.items(), body=body)
        if answer.status >= 300:
            raise oss2.exceptions.make_exception(answer)
        answer.answer.close()
        return Receipt(
            answer.request_id,
            answer.headers.get("etag", "").strip('"'),
            answer.headers.get("x-oss-hash-crc64ecma", ""),
        )
