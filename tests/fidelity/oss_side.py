"""Reads replicas back as they are on the wire, without decoding or decompressing them."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import oss2

from replication.stores.base import CONTENT_HEADERS
from replication.stores.checksums import CRC64
from sandbox.oss import OssServer
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.road import OSS_REGION

_METADATA = "x-oss-meta-"
_ENCRYPTION = "x-oss-server-side-encryption"
_READABLE = {"Standard", "IA"}


@dataclass(frozen=True)
class Replica:
    """All properties of a replica that are compared."""

    crc64: str
    size_bytes: int
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    storage_class: str
    acl: str
    encryption: Mapping[str, str]


class ReplicaBucket:
    """The destination bucket, read with Python's own HTTP client; a context manager."""

    def __init__(self, oss: OssServer) -> None:
        auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
        self._bucket = oss2.Bucket(
            auth,
            oss.endpoint,
            "replica",
            region=OSS_REGION,
            enable_crc=False,
        )

    def __enter__(self) -> Self:
        address = urlsplit(self._bucket.endpoint).netloc
        self._connection = http.client.HTTPConnection(address, timeout=90)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def keys(self) -> set[str]:
        return {found.key for found in oss2.ObjectIteratorV2(self._bucket)}

    def read(self, key: str) -> Replica:
        headers, _ = self._ask("HEAD", key)
        crc64, size_bytes = headers["x-oss-hash-crc64ecma"], int(headers["content-length"])
        if headers["x-oss-storage-class"] in _READABLE:  # archived objects can't be read
            headers, body = self._ask("GET", key)
            crc64, size_bytes = str(CRC64.calc(body)), len(body)
        tags = self._bucket.get_object_tagging(key).tag_set.tagging_rule
        return Replica(
            crc64=crc64,
            size_bytes=size_bytes,
            headers={name: headers[name] for name in CONTENT_HEADERS if name in headers},
            metadata={
                name.removeprefix(_METADATA): value
                for name, value in headers.items()
                if name.startswith(_METADATA)
            },
            tags=tags,
            storage_class=headers["x-oss-storage-class"],
            acl=self._bucket.get_object_acl(key).acl,
            encryption={n: v for n, v in headers.items() if n.startswith(_ENCRYPTION)},
        )

    def _ask(self, method: str, key: str) -> tuple[dict[str, str], bytes]:
        bucket = self._bucket
        # sign_url can't be used: it refuses keys that are blank or begin with a question mark.
        request = oss2.http.Request(
            method, bucket._make_url(bucket.bucket_name, key), region=OSS_REGION, product="oss"
        )
        bucket.auth._sign_request(request, bucket.bucket_name, key)
        headers = {name: value for name, value in request.headers.items() if value is not None}
        self._connection.request(method, urlsplit(request.url).path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (method, key, answer.status, body)
        return {name.lower(): value for name, value in answer.getheaders()}, body
