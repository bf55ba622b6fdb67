"""Lists objects (v1 and v2), object versions in an unversioned bucket, and uploads."""

import base64
import binascii
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from sandbox.oss.dates import iso_time
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange, element, owner, xml_answer
from sandbox.oss.http import Answer
from sandbox.oss.names import url_encoded
from sandbox.oss.state import Bucket, StoredObject, Upload

DEFAULT_KEYS = 100
MOST_KEYS = 1000
LAST_CHARACTER = "\U0010ffff"


@dataclass(slots=True)
class Page:
    """One page of a listing; `last` is its last key or common prefix."""

    contents: list[tuple[str, StoredObject]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    is_truncated: bool = False


@dataclass(slots=True)
class _UploadPage:
    """One page of a listing of uploads; `last` is (key or common prefix, upload id)."""

    uploads: list[Upload] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: tuple[str, str] = ("", "")
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class _ListQuery:
    """The parameters that all listings share."""

    prefix: str
    delimiter: str
    limit: int
    is_encoded: bool

    def name(self, tag: str, value: str) -> str:
        return element(tag, url_encoded(value) if self.is_encoded else value)

    def head(self, exchange: Exchange) -> str:
        encoding = element("EncodingType", "url") if self.is_encoded else ""
        return (
            element("Name", exchange.bucket_name)
            + self.name("Prefix", self.prefix)
            + element("MaxKeys", self.limit)
            + self.name("Delimiter", self.delimiter)
            + encoding
        )


def list_objects(exchange: Exchange) -> Answer:
    """ListObjects (v1)."""
    query = _list_query(exchange)
    marker = exchange.query.get("marker", "")
    page = page_of(exchange.bucket, query.prefix, query.delimiter, after=marker, limit=query.limit)
    following = query.name("NextMarker", page.last) if page.is_truncated else ""
    return xml_answer(
        "ListBucketResult",
        query.head(exchange)
        + query.name("Marker", marker)
        + element("IsTruncated", "true" if page.is_truncated else "false")
        + following
        + _contents(page, query, with_owner=True),
    )


def list_objects_v2(exchange: Exchange) -> Answer:
    """ListObjectsV2: a continuation token overrides start-after."""
    query = _list_query(exchange)
    start_after = exchange.query.get("start-after", "")
    token = exchange.query.get("continuation-token", "")
    after = _key_of_token(token) if token else start_after
    page = page_of(exchange.bucket, query.prefix, query.delimiter, after=after, limit=query.limit)
    following = element("NextContinuationToken", _token(page.last)) if page.is_truncated else ""
    return xml_answer(
        "ListBucketResult",
        query.head(exchange)
        + (query.name("StartAfter", start_after) if start_after else "")
        + (element("ContinuationToken", token) if token else "")
        + element("KeyCount", len(page.contents) + len(page.prefixes))
        + element("IsTruncated", "true" if page.is_truncated else "false")
        + following
        + _contents(page, query, with_owner=exchange.query.get("fetch-owner") == "true"),
    )


def list_object_versions(exchange: Exchange) -> Answer:
    """ListObjectVersions; versioning was never enabled, so each object has one version, `null`."""
    query = _list_query(exchange)
    marker = exchange.query.get("key-marker", "")
    page = page_of(exchange.bucket, query.prefix, query.delimiter, after=marker, limit=query.limit)
    following = ""
    if page.is_truncated:
        following = query.name("NextKeyMarker", page.last) + element("NextVersionIdMarker", "null")
    versions = "".join(
        "<Version>"
        + query.name("Key", key)
        + element("VersionId", "null")
        + element("IsLatest", "true")
        + _elements(stored)
        + owner()
        + "</Version>"
        for key, stored in page.contents
    )
    return xml_answer(
        "ListVersionsResult",
        query.head(exchange)
        + query.name("KeyMarker", marker)
        + element("VersionIdMarker", exchange.query.get("version-id-marker", ""))
        + element("IsTruncated", "true" if page.is_truncated else "false")
        + following
        + versions
        + _prefixes(page.prefixes, query),
    )


def list_uploads(exchange: Exchange) -> Answer:
    """ListMultipartUploads, ordered by key and then by upload id."""
    query = _list_query(exchange, limit_name="max-uploads", default=MOST_KEYS)
    key_marker = exchange.query.get("key-marker", "")
    id_marker = exchange.query.get("upload-id-marker", "") if key_marker else ""
    page = _page_of_uploads(exchange.bucket, query, key_marker, id_marker)
    next_key, next_id = page.last if page.is_truncated else ("", "")
    listed = "".join(
        "<Upload>"
        + query.name("Key", upload.key)
        + element("UploadId", upload.upload_id)
        + element("StorageClass", upload.attributes.storage_class)
        + element("Initiated", iso_time(upload.initiated_at))
        + "</Upload>"
        for upload in page.uploads
    )
    return xml_answer(
        "ListMultipartUploadsResult",
        element("Bucket", exchange.bucket_name)
        + (element("EncodingType", "url") if query.is_encoded else "")
        + query.name("KeyMarker", key_marker)
        + element("UploadIdMarker", id_marker)
        + query.name("NextKeyMarker", next_key)
        + element("NextUploadIdMarker", next_id)
        + query.name("Delimiter", query.delimiter)
        + query.name("Prefix", query.prefix)
        + element("MaxUploads", query.limit)
        + element("IsTruncated", "true" if page.is_truncated else "false")
        + listed
        + _prefixes(page.prefixes, query),
    )


def _page_of_uploads(
    bucket: Bucket, query: _ListQuery, key_marker: str, id_marker: str
) -> _UploadPage:
    with bucket.lock:
        uploads = sorted(bucket.uploads.values(), key=lambda each: (each.key, each.upload_id))
    page = _UploadPage()
    for upload in uploads:
        at = (upload.key, upload.upload_id)
        is_after = at > (key_marker, id_marker) if id_marker else upload.key > key_marker
        group = _group(upload.key, query.prefix, query.delimiter)
        is_listed = group is not None and (group in page.prefixes or group <= key_marker)
        if not is_after or is_listed or not upload.key.startswith(query.prefix):
            continue
        if len(page.uploads) + len(page.prefixes) == query.limit:
            page.is_truncated = True
            break
        if group is None:
            page.uploads.append(upload)
            page.last = at
        else:
            page.prefixes.append(group)
            page.last = (group, "")
    return page


def page_of(bucket: Bucket, prefix: str, delimiter: str, *, after: str, limit: int) -> Page:
    """Up to `limit` keys and common prefixes that sort after `after`."""
    keys = bucket.sorted_keys()
    page = Page()
    at = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
    while at < len(keys) and keys[at].startswith(prefix):
        key = keys[at]
        group = _group(key, prefix, delimiter)
        if group is not None and group <= after:
            at = bisect_left(keys, group + LAST_CHARACTER, at)
            continue
        stored = bucket.objects.get(key)
        if stored is None:
            at += 1
            continue
        if len(page.contents) + len(page.prefixes) == limit:
            page.is_truncated = True
            break
        if group is not None:
            page.prefixes.append(group)
            page.last = group
            at = bisect_left(keys, group + LAST_CHARACTER, at)
        else:
            page.contents.append((key, stored))
            page.last = key
            at += 1
    return page


def _group(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that a listing has instead of the key, if any."""
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]


def _list_query(
    exchange: Exchange, *, limit_name: str = "max-keys", default: int = DEFAULT_KEYS
) -> _ListQuery:
    encoding = exchange.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise OssError("InvalidArgument", ArgumentName="encoding-type", ArgumentValue=encoding)
    return _ListQuery(
        prefix=exchange.query.get("prefix", ""),
        delimiter=exchange.query.get("delimiter", ""),
        limit=exchange.number(limit_name, default, least=1, most=MOST_KEYS),
        is_encoded=encoding == "url",
    )


def _contents(page: Page, query: _ListQuery, *, with_owner: bool) -> str:
    owned = owner() if with_owner else ""
    return "".join(
        f"<Contents>{query.name('Key', key)}{_elements(stored)}{owned}</Contents>"
        for key, stored in page.contents
    ) + _prefixes(page.prefixes, query)


def _elements(stored: StoredObject) -> str:
    return (
        element("LastModified", iso_time(stored.modified_at))
        + element("ETag", stored.etag)
        + element("Type", stored.kind)
        + element("Size", stored.size)
        + element("StorageClass", stored.attributes.storage_class)
    )


def _prefixes(prefixes: list[str], query: _ListQuery) -> str:
    return "".join(
        f"<CommonPrefixes>{query.name('Prefix', prefix)}</CommonPrefixes>" for prefix in prefixes
    )


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _key_of_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise OssError(
            "InvalidArgument",
            "The continuation token is invalid.",
            ArgumentName="continuation-token",
            ArgumentValue=token,
        ) from None
