"""Finds the user metadata and content headers that OSS would refuse or alter, and rewrites them.

A value is the text that Python's HTTP client makes of a header's bytes: one character for each byte
(Latin-1). Printable ASCII goes from S3 to OSS byte for byte. So do values in the form of RFC 2047
(`=?UTF-8?B?…?=`), in which S3 returns values that are not ASCII: they are not decoded. Other bytes
are sent only as the UTF-8 of a user metadata value, and only to a bucket that is known to take it:
OSS documents visible ASCII for user metadata, does not document other headers, and a signature over
such bytes depends on how each side reads them. Text beyond Latin-1 stands for its UTF-8 bytes.

REWRITE turns a user metadata field into `s3sync-meta-<name>: <value>`. In the name, each byte other
than a-z and 0-9 becomes a hyphen and two hexadecimal digits (`taken_by` →
`s3sync-meta-taken-5fby`). In the value, each byte other than visible ASCII, and the percent sign,
becomes `%XX`. All names that begin with `s3sync-` are rewritten, so that a field of the source is
never mistaken for a field of s3sync, even if the source object is itself a replica.

A content header keeps its name and its printable characters. Its other bytes become `%XX`, as OSS
advises for file names, and `s3sync-header-<name>` holds its exact bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import ErrorCode, ReplicationError
from replication.mapping import percent
from replication.mapping.capabilities import AS_DOCUMENTED, Capabilities

# For names and values together; it is not known whether OSS counts `x-oss-meta-` too.
MAX_OSS_METADATA_BYTES = 8 * 1024

# These fields of a replica say what it is a copy of, so that a comparison needs no other record.
RESERVED_PREFIX = "s3sync-"
PROVENANCE_SOURCE = "s3sync-source"  # see ownership.py
PROVENANCE_ETAG = "s3sync-etag"
PROVENANCE_VERSION = "s3sync-version"
PROVENANCE_MODIFIED = "s3sync-modified"  # ISO 8601
PROVENANCE_KEY = "s3sync-key"
PROVENANCE_HEADER_PREFIX = "s3sync-header-"
REWRITTEN_PREFIX = "s3sync-meta-"

_NAME = re.compile(r"[a-z0-9-]+")
_NOT_IN_REWRITTEN_NAME = re.compile(rb"[^a-z0-9]")
_HEX_IN_NAME = re.compile(rb"-([0-9a-f]{2})")


class MetadataPolicy(StrEnum):
    """What to do with metadata that OSS does not accept. The values are stored."""

    FAIL = "fail"  # the job fails, with the reason
    DROP = "drop"  # the object is copied without those fields, and their names are recorded
    REWRITE = "rewrite"  # the fields are written in a form from which they can be restored


@dataclass(frozen=True)
class Dropped:
    """A metadata field, tag or header that the replica lacks, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PlannedMetadata:
    """The user metadata to write; `rewritten` and `dropped` have the source's names."""

    fields: dict[str, str]
    rewritten: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class PlannedHeaders:
    """The content headers to write, and the provenance fields of rewritten headers."""

    headers: dict[str, str]
    provenance: dict[str, str]
    rewritten: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def plan_metadata(
    metadata: Mapping[str, str],
    *,
    policy: MetadataPolicy,
    provenance: Mapping[str, str],
    capabilities: Capabilities = AS_DOCUMENTED,
) -> PlannedMetadata:
    """Plan the replica's user metadata: the source's under the policy, and the provenance.

    Args:
        metadata: the source's fields, without `x-amz-meta-`.
        provenance: s3sync's own fields; their names begin with RESERVED_PREFIX.
        capabilities: what the bucket takes. The policy is for the rest.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE: under FAIL, for the first field that OSS does not
            accept; under FAIL and REWRITE, if the fields together are too large. DROP then drops
            the largest fields.
    """
    assert all(name.startswith(RESERVED_PREFIX) for name in provenance)
    fields, rewritten, dropped = {}, [], []
    for name, value in metadata.items():
        problem = _source_field_problem(name, value, capabilities)
        if not problem:
            fields[name] = _header_bytes(value).decode("latin-1")
        elif policy == MetadataPolicy.FAIL:
            raise _incompatible(f"a user metadata field: {problem}")
        elif policy == MetadataPolicy.DROP:
            dropped.append(Dropped(name, problem))
        else:
            fields[_rewritten_name(name)] = percent.encode(_header_bytes(value))
            rewritten.append(name)
    if policy == MetadataPolicy.DROP:
        dropped += _drop_until_it_fits(fields, provenance_size=_size(provenance))
    fields |= provenance
    check_user_metadata(fields, capabilities=capabilities)
    return PlannedMetadata(fields, tuple(rewritten), tuple(dropped))


def original_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """The source's user metadata, restored from that of a replica; dropped fields are missing.

    Fields that begin with `s3sync-` and are not rewritten fields are left out as s3sync's own.
    """
    original = {}
    for name, value in fields.items():
        if (
            name.startswith(REWRITTEN_PREFIX)
            and (original_name := _original_name(name)) is not None
        ):
            original[original_name] = percent.decode(value).decode("latin-1")
        elif not name.startswith(RESERVED_PREFIX):
            original[name] = value
    return original


def plan_content_headers(headers: Mapping[str, str], *, policy: MetadataPolicy) -> PlannedHeaders:
    """Plan the content headers to send: Content-Type, Cache-Control, Content-Disposition, etc.

    The meaning of a value is not checked: as far as is known, OSS keeps any Expires or
    Content-Encoding (its older documentation does not mention Content-Language). Without a
    Content-Type, OSS derives one from the key's ending; S3 always sends one.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, under FAIL, naming the header.
    """
    planned, provenance, rewritten, dropped = {}, {}, [], []
    for name, value in headers.items():
        problem = _value_problem(name, value)
        if not problem:
            planned[name] = value
        elif policy == MetadataPolicy.FAIL:
            raise _incompatible(f"a content header: {problem}")
        elif policy == MetadataPolicy.DROP:
            dropped.append(Dropped(name, problem))
        else:
            planned[name] = _printable(value)
            provenance[_header_field(name)] = percent.encode(_header_bytes(value))
            rewritten.append(name)
    return PlannedHeaders(planned, provenance, tuple(rewritten), tuple(dropped))


def original_content_headers(
    headers: Mapping[str, str], metadata: Mapping[str, str]
) -> dict[str, str]:
    """The source's content headers, restored from a replica's headers and user metadata."""
    return {
        name: percent.decode(metadata[field]).decode("latin-1")
        if (field := _header_field(name)) in metadata
        else value
        for name, value in headers.items()
    }


def check_user_metadata(
    metadata: Mapping[str, str], *, capabilities: Capabilities = AS_DOCUMENTED
) -> None:
    """Refuse user metadata that the bucket would refuse or alter.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, naming the field.
    """
    for name, value in metadata.items():
        if problem := _field_problem(name, value, capabilities):
            raise _incompatible(f"a user metadata field: {problem}")
    total = _size(metadata)
    if total > MAX_OSS_METADATA_BYTES:
        raise _incompatible(
            f"the user metadata has {total} bytes; OSS allows {MAX_OSS_METADATA_BYTES}"
        )


def _source_field_problem(name: str, value: str, capabilities: Capabilities) -> str:
    if name.startswith(RESERVED_PREFIX):
        return f"its name begins with {RESERVED_PREFIX!r}, which is reserved for s3sync: {name!r}"
    return _field_problem(name, value, capabilities)


def _field_problem(name: str, value: str, capabilities: Capabilities) -> str:
    if not _NAME.fullmatch(name):
        return f"its name has characters other than a-z, 0-9 and hyphen: {name!r}"
    if capabilities.non_ascii_metadata and not value.isascii():
        return _utf8_problem(name, value)
    return _value_problem(name, value)


def _utf8_problem(name: str, value: str) -> str:
    try:
        text = _header_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        return f"the value of {name!r} is not UTF-8"
    if not text.isprintable():
        return f"the value of {name!r} has characters that can't be printed"
    return _space_problem(name, text)


def _value_problem(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        return f"the value of {name!r} has characters other than printable ASCII"
    return _space_problem(name, value)


def _space_problem(name: str, value: str) -> str:
    if value != value.strip(" "):
        return f"the value of {name!r} begins or ends with a space, which HTTP removes"
    return ""


def _drop_until_it_fits(fields: dict[str, str], *, provenance_size: int) -> list[Dropped]:
    """Remove the largest fields until the provenance fits too; returns the removed fields."""
    dropped = []
    while fields and _size(fields) + provenance_size > MAX_OSS_METADATA_BYTES:
        name = max(fields, key=lambda name: (len(name) + len(fields[name]), name))
        del fields[name]
        dropped.append(
            Dropped(name, f"no room: OSS allows {MAX_OSS_METADATA_BYTES} bytes of user metadata")
        )
    return dropped


def _size(fields: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in fields.items())


def _header_bytes(value: str) -> bytes:
    """The bytes of the value as a header."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _printable(value: str) -> str:
    """The value with all but printable ASCII as `%XX`; a percent sign stays as it is."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E else f"%{byte:02X}"
        for byte in _header_bytes(value).strip(b" ")
    )


def _header_field(header: str) -> str:
    return PROVENANCE_HEADER_PREFIX + header.lower()


def _rewritten_name(name: str) -> str:
    encoded = _NOT_IN_REWRITTEN_NAME.sub(
        lambda match: b"-%02x" % match[0][0], name.encode("utf-8", "surrogatepass")
    )
    return REWRITTEN_PREFIX + encoded.decode("ascii")


def _original_name(rewritten_name: str) -> str | None:
    """The name before rewriting; None if s3sync did not write the field."""
    decoded = _HEX_IN_NAME.sub(
        lambda match: bytes.fromhex(match[1].decode("ascii")),
        rewritten_name.removeprefix(REWRITTEN_PREFIX).encode(),
    )
    try:
        name = decoded.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return name if _rewritten_name(name) == rewritten_name else None


def _incompatible(detail: str) -> ReplicationError:
    return ReplicationError(ErrorCode.METADATA_INCOMPATIBLE, detail)
