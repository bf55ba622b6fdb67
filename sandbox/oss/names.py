"""Checks buckets' and objects' names, metadata, tags, storage classes and ACLs as OSS does."""

import ipaddress
import re
from urllib.parse import quote, unquote_plus

from sandbox.oss.errors import OssError

OBJECT_NAME_BYTES = 1023
USER_META_BYTES = 8 << 10
TAGS = 10
TAG_KEY_BYTES = 128
TAG_VALUE_BYTES = 256
STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
BUCKET_ACLS = ("private", "public-read", "public-read-write")
OBJECT_ACLS = ("default", *BUCKET_ACLS)
META_PREFIX = "x-oss-meta-"

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_META_NAME = re.compile(r"[a-z0-9-]+")
_META_VALUE = re.compile(r"[ -~]*")
_LENIENT_META_VALUE = re.compile(r"[^\x00-\x1f\x7f]*")
_TAG_TEXT = re.compile(r"[A-Za-z0-9 +\-=._:/]*")
_LENIENT_TAG_TEXT = re.compile(r"(?:[^\W_]|[ +\-=._:/])*")


def check_bucket_name(name: str) -> str:
    """3 to 63 lower-case letters, digits and hyphens, without a hyphen at either end."""
    if not _BUCKET_NAME.fullmatch(name):
        raise OssError("InvalidBucketName", BucketName=name)
    return name


def check_object_name(raw_name: bytes) -> str:
    """1 to 1,023 bytes of UTF-8 that don't begin with a slash or a backslash."""
    try:
        name = raw_name.decode("utf-8")
    except UnicodeDecodeError:
        shown = raw_name.decode("utf-8", "replace")
        raise OssError("InvalidObjectName", ObjectName=shown) from None
    if not 1 <= len(raw_name) <= OBJECT_NAME_BYTES or name[0] in "/\\":
        raise OssError("InvalidObjectName", ObjectName=name)
    return name


def user_meta(headers: dict[str, str], *, is_lenient: bool = False) -> dict[str, str]:
    """The user metadata of a request, its names without `x-oss-meta-`; raises InvalidArgument.

    Values are visible ASCII, as OSS documents. A lenient bucket takes other bytes too.
    """
    allowed = _LENIENT_META_VALUE if is_lenient else _META_VALUE
    meta: dict[str, str] = {}
    size = 0
    for header, value in headers.items():
        if not header.startswith(META_PREFIX):
            continue
        name = header[len(META_PREFIX) :]
        if not _META_NAME.fullmatch(name):
            raise OssError(
                "InvalidArgument",
                "The user metadata's name may contain letters, digits and hyphens only.",
                ec="0011-00000004",
                ArgumentName=header,
                ArgumentValue=value,
            )
        if not allowed.fullmatch(value):
            raise OssError(
                "InvalidArgument",
                "The user metadata's value may contain visible ASCII characters only.",
                ec="0011-00000005",
                ArgumentName=header,
                ArgumentValue=value,
            )
        size += len(name) + len(value.encode("utf-8", "surrogateescape"))
        meta[name] = value
    if size > USER_META_BYTES:
        raise OssError(
            "InvalidArgument",
            "The total size of user metadata is larger than 8 KB.",
            ec="0011-00000002",
            ArgumentName="x-oss-meta",
            ArgumentValue=str(size),
        )
    return meta


def tags_of_header(header: str, *, is_lenient: bool = False) -> dict[str, str]:
    """The tags of an `x-oss-tagging` header: `a=1&b=2&c`, both sides URL-encoded."""
    pairs = [pair.partition("=") for pair in header.split("&") if pair]
    if any("=" in value for _, _, value in pairs):
        raise OssError(
            "InvalidTag", "The header x-oss-tagging is not like k1=v1&k2=v2.", ec="0010-00000219"
        )
    decoded = [(unquote_plus(key), unquote_plus(value)) for key, _, value in pairs]
    return check_tags(decoded, is_lenient=is_lenient)


def check_tags(pairs: list[tuple[str, str]], *, is_lenient: bool = False) -> dict[str, str]:
    """At most 10 tags, with unique keys of 1 to 128 bytes and values of 0 to 256 bytes.

    Letters are those of ASCII, as OSS documents. A lenient bucket takes those of all alphabets.
    """
    allowed = _LENIENT_TAG_TEXT if is_lenient else _TAG_TEXT
    if len(pairs) > TAGS:
        raise OssError("InvalidTag", "Object tags cannot be greater than 10.", ec="0010-00000217")
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key.encode()) <= TAG_KEY_BYTES:
            raise OssError(
                "InvalidTag", "The tag's key has a wrong length.", ec="0010-00000209", TagKey=key
            )
        if not allowed.fullmatch(key):
            raise OssError(
                "InvalidTag",
                "The tag's key has characters that are not allowed.",
                ec="0010-00000212",
                TagKey=key,
            )
        if len(value.encode()) > TAG_VALUE_BYTES or not allowed.fullmatch(value):
            raise OssError(
                "InvalidTag", "The tag's value is invalid.", ec="0010-00000217", TagValue=value
            )
        if key in tags:
            raise OssError(
                "InvalidTag", "The tags have a key twice.", ec="0010-00000217", TagKey=key
            )
        tags[key] = value
    return tags


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """The value of a header if it is one of `allowed`, case-sensitively; or InvalidArgument."""
    if value not in allowed:
        raise OssError(
            "InvalidArgument",
            f"The value of {name} must be one of {', '.join(allowed)}.",
            ArgumentName=name,
            ArgumentValue=value,
        )
    return value


def url_encoded(name: str) -> str:
    """A name as OSS writes it for a request with `encoding-type=url`."""
    return quote(name.encode(), safe="/")


def is_ip_address(host: str) -> bool:
    """Whether a host is an IP address, which can't have a bucket's name as a prefix."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
