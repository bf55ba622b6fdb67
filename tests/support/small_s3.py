"""A small S3 on loopback, with behaviours of AWS that the stand-ins lack.

Requester pays: a request without `x-amz-request-payer: requester` is denied like one without a
grant. Archive tiers of INTELLIGENT_TIERING: a restore takes no Days, HEAD tells the tier by
`x-amz-archive-status`, and the restored object is back in its own tier for good. Signatures are not
checked.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/intelligent-tiering-managing.html
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

TIERS = {
    "ARCHIVE_ACCESS": {"Expedited", "Standard", "Bulk"},
    "DEEP_ARCHIVE_ACCESS": {"Standard", "Bulk"},
    "GLACIER": {"Expedited", "Standard", "Bulk"},
}


@dataclass
class StoredObject:
    """An object; `archive` is its archive tier or class, empty if it can be read."""

    body: bytes = b"content"
    archive: str = ""
    is_restoring: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    storage_class: str = field(init=False)

    def __post_init__(self) -> None:
        is_class = self.archive in {"", "GLACIER"}
        self.storage_class = self.archive if is_class else "INTELLIGENT_TIERING"


@dataclass(frozen=True)
class Asked:
    """A request: its method and its subresource, as in `GET`, `POST ?restore`; the payer."""

    what: str
    payer: str
    body: bytes


class SmallS3(ThreadingHTTPServer):
    """A server with one bucket."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, StoredObject] = {}
        self.requester_pays = False
        self.requests: list[Asked] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self) -> list[str]:
        return [request.what for request in self.requests]

    def end_restores(self) -> None:
        """Bring all objects that are being restored back to where they can be read."""
        for each in self.objects.values():
            if each.is_restoring:
                each.archive, each.is_restoring = "", False


@contextmanager
def small_s3() -> Iterator[SmallS3]:
    """A server that runs until the context ends."""
    with SmallS3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: SmallS3
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Read a request, and answer it by its method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        address = urlsplit(self.path)
        _, _, key = unquote(address.path).lstrip("/").partition("/")
        parameters = parse_qs(address.query, keep_blank_values=True)
        subresource = next((name for name in ("tagging", "restore") if name in parameters), "")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = self.command + (f" ?{subresource}" if subresource else "") + ("" if key else " list")
        payer = self.headers.get("x-amz-request-payer", "")
        self.server.requests.append(Asked(what, payer, body))
        found = self.server.objects.get(key)
        if self.server.requester_pays and payer != "requester":
            self._refuse(403, "AccessDenied")
        elif not key:
            self._list()
        elif found is None:
            self._refuse(404, "NoSuchKey")
        elif subresource == "restore":
            self._restore(found, body)
        elif subresource == "tagging":
            self._tags(found)
        else:
            self._object(found)

    def _object(self, found: StoredObject) -> None:
        headers = {"ETag": f'"{hashlib.md5(found.body).hexdigest()}"'}
        headers["Last-Modified"] = "Mon, 30 Nov 2026 00:00:00 GMT"
        if found.storage_class:
            headers["x-amz-storage-class"] = found.storage_class
        if found.archive and found.archive != found.storage_class:
            headers["x-amz-archive-status"] = found.archive
        if found.is_restoring:
            headers["x-amz-restore"] = 'ongoing-request="true"'
        if found.tags:
            headers["x-amz-tagging-count"] = str(len(found.tags))
        if found.archive and self.command == "GET":
            tier = f"<StorageClass>{found.storage_class}</StorageClass>"
            if found.storage_class != found.archive:
                tier += f"<AccessTier>{found.archive}</AccessTier>"
            self._refuse(403, "InvalidObjectState", more=tier)
            return
        self._answer(200, found.body, headers)

    def _restore(self, found: StoredObject, body: bytes) -> None:
        namespace = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        asked = {each.tag.removeprefix(namespace): each for each in ElementTree.fromstring(body)}
        tier = asked["GlacierJobParameters"].findtext(f"{namespace}Tier", "")
        if not found.archive:
            self._refuse(403, "ObjectAlreadyInActiveTierError")
        elif found.is_restoring:
            self._refuse(409, "RestoreAlreadyInProgress")
        elif ("Days" in asked) != (found.archive == "GLACIER") or tier not in TIERS[found.archive]:
            self._refuse(400, "InvalidArgument")
        else:
            found.is_restoring = True
            self._answer(202, b"")

    def _tags(self, found: StoredObject) -> None:
        tags = "".join(
            f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>"
            for name, value in found.tags.items()
        )
        self._answer(200, f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode())

    def _list(self) -> None:
        keys = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(found.body)}</Size></Contents>"
            for key, found in sorted(self.server.objects.items())
        )
        self._answer(200, f"<ListBucketResult><Name>b</Name>{keys}</ListBucketResult>".encode())

    def _refuse(self, status: int, code: str, *, more: str = "") -> None:
        error = f"<Error><Code>{code}</Code><Message>{code}</Message>{more}</Error>"
        self._answer(status, error.encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        self.send_header("x-amz-request-id", "SMALL")
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
