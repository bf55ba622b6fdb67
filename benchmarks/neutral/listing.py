"""Lists a bucket's keys in pages: ListObjects in both versions, with prefix and delimiter."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from benchmarks.neutral.contents import Bucket, Stored

_PAGE = 1000
_LAST = "\U0010ffff"


def list_objects(name: str, bucket: Bucket, query: dict[str, str]) -> bytes:
    """The page that the query requests, as XML."""
    is_v2 = query.get("list-type") == "2"
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = query.get("continuation-token") or query.get("start-after") or query.get("marker", "")
    limit = min(int(query.get("max-keys") or _PAGE), _PAGE)
    encode = quote if query.get("encoding-type") == "url" else escape
    objects: list[str] = []
    prefixes: list[str] = []
    last, is_truncated = after, False
    for key, stored in _entries(bucket, prefix, delimiter, after):
        if len(objects) + len(prefixes) >= limit:
            is_truncated = True
            break
        last = key
        if stored is None:
            prefixes.append(f"<CommonPrefixes><Prefix>{encode(key)}</Prefix></CommonPrefixes>")
        else:
            objects.append(
                f"<Contents><Key>{encode(key)}</Key>"
                f"<LastModified>{_iso(int(stored.modified))}</LastModified>"
                f"<ETag>&quot;{stored.etag}&quot;</ETag><Type>Normal</Type>"
                f"<Size>{stored.size_bytes}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
    following = ""
    if is_truncated:
        tag = "NextContinuationToken" if is_v2 else "NextMarker"
        following = f"<{tag}>{encode(last)}</{tag}>"
    count = f"<KeyCount>{len(objects) + len(prefixes)}</KeyCount>" if is_v2 else ""
    marker = "" if is_v2 else f"<Marker>{encode(after)}</Marker>"
    encoding = "<EncodingType>url</EncodingType>" if encode is quote else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{name}</Name>'
        f"<Prefix>{encode(prefix)}</Prefix>{marker}<MaxKeys>{limit}</MaxKeys>{encoding}"
        f"<Delimiter>{encode(delimiter)}</Delimiter>"
        f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>{following}{count}"
        f"{''.join(objects)}{''.join(prefixes)}</ListBucketResult>"
    ).encode()


def _entries(
    bucket: Bucket, prefix: str, delimiter: str, after: str
) -> Iterator[tuple[str, Stored | None]]:
    """Yield keys with their objects, and common prefixes with None."""
    if delimiter and after.endswith(delimiter) and after != prefix:
        after += _LAST  # a common prefix that was listed already
    while True:
        for key, stored in bucket.items(after=after, prefix=prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                common = key[: cut + len(delimiter)]
                yield common, None
                after = common + _LAST  # skip all keys of this common prefix
                break
            yield key, stored
        else:
            return


@lru_cache(maxsize=4096)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
