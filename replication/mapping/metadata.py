"""What S3 keeps beside an object's bytes and OSS would refuse or mangle, and what to do about it.

Values are what Python's HTTP client makes of the bytes of a header: one character for each byte
(Latin-1). Printable ASCII goes from S3 to OSS byte for byte; so do values that S3 hands out in the
form of RFC 2047 (`=?UTF-8?B?…?=`), as it does where a value was not ASCII: they are not decoded.
Other bytes would leave here as they came if the text were sent as it was received, for the client
writes Latin-1 too. But OSS takes visible ASCII alone in user metadata, says nothing about other
headers, and a signature over them depends on how each side reads them; so they are never sent.
Text beyond Latin-1 stands for its UTF-8.

Under REWRITE a field of user metadata becomes `s3sync-meta-<name>: <value>`: in the name each byte
but a-z and 0-9 is a hyphen and two hexadecimal digits (`taken_by` → `s3sync-meta-taken-5fby`), in
the value each byte but visible ASCII is `%XX`, as is the percent sign. All names that begin with
`s3sync-` are rewritten, so no field of the source can be taken for one of ours, not even where the
source is a replica itself.

A content header keeps its name and its printable characters, and has the others as `%XX`, which is
what OSS advises for file names; its exact bytes are kept in `s3sync-header-<name>`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import ErrorCode, ReplicationError
from replication.mapping import percent

# Names and values; whether OSS counts `x-oss-meta-` too is not known.
MAX_OSS_METADATA_BYTES = 8 * 1024

# Where the replica says what it is a copy of, so that a comparison needs no ledger.
RESERVED_PREFIX = "s3sync-"
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
    """What becomes of metadata that OSS can't keep. The values are stored."""

    FAIL = "fail"  # the job fails, with the reason
    DROP = "drop"  # the object is copied without those fields, which are put on record
    REWRITE = "rewrite"  # the fields are written so that they can be had back


@dataclass(frozen=True)
class Dropped:
    """A metadata field, tag or header that the replica goes without, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PlannedMetadata:
    """The user metadata to write, and what became of fields of the source, by their names there."""

    fields: dict[str, str]
    rewritten: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class PlannedHeaders:
    """The content headers to write, and the provenance that goes with rewritten ones."""

    headers: dict[str, str]
    provenance: dict[str, str]
    rewritten: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def plan_metadata(
    metadata: Mapping[str, str], *, policy: MetadataPolicy, provenance: Mapping[str, str]
) -> PlannedMetadata:
    """The replica's user metadata: the source's, as the policy says, and our own.

    Args:
        metadata: the source's fields, without `x-amz-meta-`.
        provenance: our own fields; their names begin with RESERVED_PREFIX.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE: under FAIL for the first field that OSS can't keep;
            under FAIL and REWRITE if all together are too large. DROP leaves out the largest then.
    """
    assert all(name.startswith(RESERVED_PREFIX) for name in provenance)
    fields, rewritten, dropped = {}, [], []
    for name, value in metadata.items():
        problem = _source_field_problem(name, value)
        if not problem:
            fields[name] = value
        elif policy == MetadataPolicy.FAIL:
            raise _incompatible(f"a user metadata field: {problem}")
        elif policy == MetadataPolicy.DROP:
            dropped.append(Dropped(name, problem))
        else:
            fields[_rewritten_name(name)] = percent.encode(_wire(value))
            rewritten.append(name)
    if policy == MetadataPolicy.DROP:
        dropped += _drop_until_it_fits(fields, len_of_ours=_size(provenance))
    fields |= provenance
    check_user_metadata(fields)
    return PlannedMetadata(fields, tuple(rewritten), tuple(dropped))


def original_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """The user metadata of the source, of that of a replica; without what was dropped.

    Fields that begin with `s3sync-` and are not of a form that we write are taken for ours.
    """
    original = {}
    for name, value in fields.items():
        if name.startswith(REWRITTEN_PREFIX) and (name_there := _name_of(name)) is not None:
            original[name_there] = percent.decode(value).decode("latin-1")
        elif not name.startswith(RESERVED_PREFIX):
            original[name] = value
    return original


def plan_content_headers(headers: Mapping[str, str], *, policy: MetadataPolicy) -> PlannedHeaders:
    """The content headers to send: Content-Type, Cache-Control, Content-Disposition and the like.

    What a value means is not looked at: OSS keeps any Expires or Content-Encoding, as far as is
    known (its older documents do not name Content-Language). Without a Content-Type OSS goes by
    the key's ending; S3 always gives one.

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
            planned[name] = _readable(value)
            provenance[_header_field(name)] = percent.encode(_wire(value))
            rewritten.append(name)
    return PlannedHeaders(planned, provenance, tuple(rewritten), tuple(dropped))


def original_content_headers(
    headers: Mapping[str, str], metadata: Mapping[str, str]
) -> dict[str, str]:
    """The content headers of the source, of those and the user metadata of a replica."""
    return {
        name: percent.decode(metadata[field]).decode("latin-1")
        if (field := _header_field(name)) in metadata
        else value
        for name, value in headers.items()
    }


def check_user_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse user metadata that OSS would refuse or mangle.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, naming the field.
    """
    for name, value in metadata.items():
        if problem := _field_problem(name, value):
            raise _incompatible(f"a user metadata field: {problem}")
    total = _size(metadata)
    if total > MAX_OSS_METADATA_BYTES:
        raise _incompatible(
            f"the user metadata has {total} bytes; OSS allows {MAX_OSS_METADATA_BYTES}"
        )


def _source_field_problem(name: str, value: str) -> str:
    if name.startswith(RESERVED_PREFIX):
        return f"its name is one of those that s3sync keeps for itself: {name!r}"
    return _field_problem(name, value)


def _field_problem(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        return f"its name has other characters than letters, digits and hyphen: {name!r}"
    return _value_problem(name, value)


def _value_problem(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        return f"the value of {name!r} has other characters than printable ASCII"
    if value != value.strip(" "):
        return f"the value of {name!r} begins or ends with a space, which HTTP takes off"
    return ""


def _drop_until_it_fits(fields: dict[str, str], *, len_of_ours: int) -> list[Dropped]:
    """Take the largest fields out until there is room for ours."""
    dropped = []
    while fields and _size(fields) + len_of_ours > MAX_OSS_METADATA_BYTES:
        name = max(fields, key=lambda name: (len(name) + len(fields[name]), name))
        del fields[name]
        dropped.append(
            Dropped(name, f"no room: OSS allows {MAX_OSS_METADATA_BYTES} bytes of user metadata")
        )
    return dropped


def _size(fields: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in fields.items())


def _wire(value: str) -> bytes:
    """The bytes that the value was, or would be, as a header."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _readable(value: str) -> str:
    """The value with `%XX` for what is not printable ASCII; a percent sign stays one."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E else f"%{byte:02X}" for byte in _wire(value).strip(b" ")
    )


def _header_field(header: str) -> str:
    return PROVENANCE_HEADER_PREFIX + header.lower()


def _rewritten_name(name: str) -> str:
    encoded = _NOT_IN_REWRITTEN_NAME.sub(
        lambda match: b"-%02x" % match[0][0], name.encode("utf-8", "surrogatepass")
    )
    return REWRITTEN_PREFIX + encoded.decode("ascii")


def _name_of(rewritten_name: str) -> str | None:
    """The name that was rewritten; None if none was: somebody else wrote it."""
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
