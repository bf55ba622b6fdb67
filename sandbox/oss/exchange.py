"""One request in the form that the operations take, and the parts of answers that they share."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sandbox.oss import attributes, documents, names
from sandbox.oss.body import Body
from sandbox.oss.errors import OssError
from sandbox.oss.http import Answer, RequestHead
from sandbox.oss.requestlog import LoggedRequest
from sandbox.oss.state import Attributes, Bucket, Store

XML_BODY_BYTES = 2 << 20
OWNER_ID = "123456789012"


class Clock:
    """The server's clock, which a test can set wrong."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() + self.offset_seconds


@dataclass(slots=True)
class Exchange:
    """A request with its sender, bucket, key and operation, and its entry in the log."""

    head: RequestHead
    body: Body
    operation: str
    bucket_name: str
    key: str
    key_id: str | None
    store: Store
    clock: Clock
    region: str
    folder: Path
    spill_bytes: int
    entry: LoggedRequest

    @property
    def bucket(self) -> Bucket:
        """Raises NoSuchBucket."""
        return self.store.bucket(self.bucket_name)

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, with names in lower case."""
        return self.head.headers

    @property
    def query(self) -> dict[str, str]:
        """The decoded query parameters."""
        return self.head.query

    def attributes(self, bucket: Bucket) -> Attributes:
        """The attributes that the request sets for the object it makes; raises OssError."""
        store = self.store
        return attributes.from_headers(
            self.headers, bucket, kms_keys=store.kms_keys, is_lenient=store.is_lenient
        )

    def encoded_key(self) -> str:
        """The XML element of the key, encoded as `encoding-type` requests."""
        if self.query.get("encoding-type") == "url":
            return element("EncodingType", "url") + element("Key", names.url_encoded(self.key))
        return element("Key", self.key)

    def xml_body(self, *, md5: bytes | None = None) -> ElementTree.Element:
        """The parsed body; raises MalformedXML, or InvalidDigest if the body's MD5 is not `md5`."""
        root = self.optional_xml_body(md5=md5)
        if root is None:
            raise OssError("MalformedXML")
        return root

    def optional_xml_body(self, *, md5: bytes | None = None) -> ElementTree.Element | None:
        """Like `xml_body`; None for an empty body."""
        data = self.body.read_all(XML_BODY_BYTES)
        if data is None:
            raise OssError("MalformedXML")
        if not data:
            return None
        if md5 is not None and hashlib.md5(data).digest() != md5:
            raise OssError("InvalidDigest", ec="0017-00000503")
        try:
            return documents.parse(data)
        except ElementTree.ParseError as error:
            raise OssError("MalformedXML", ErrorDetail=str(error)) from None

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """An integer query parameter; raises InvalidArgument."""
        text = self.query.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise OssError(
                "InvalidArgument",
                f"Argument {name} must be an integer between {least} and {most}.",
                ArgumentName=name,
                ArgumentValue=text,
            )
        return int(text)


class Operation(Protocol):
    """A function that carries out one OSS operation."""

    def __call__(self, exchange: Exchange) -> Answer:
        """Raises OssError for a request that OSS refuses."""


def xml_answer(root: str, content: str) -> Answer:
    """An answer with an XML document as its body."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{content}</{root}>'
    return Answer(200, {"Content-Type": "application/xml"}, body.encode("utf-8", "replace"))


def element(name: str, value: object) -> str:
    """One XML element, with its value escaped."""
    return f"<{name}>{escape(str(value))}</{name}>"


def owner() -> str:
    """The Owner element of the one account that owns every bucket and object."""
    return f"<Owner>{element('ID', OWNER_ID)}{element('DisplayName', OWNER_ID)}</Owner>"
