"""Reads the fields of messages, and names the field that is missing or wrong. Pure."""

import json
from typing import Any

MAX_KEY_BYTES = 1024  # S3's own limit

_NEVER = "no retry and no replay can ever succeed"


class UnparseableMessage(Exception):
    """The parser does not understand this message or this record; the text says why."""


def check_key(key: str, *, where: str) -> str:
    """Return the key if it is a valid S3 key that PostgreSQL can store.

    Raises:
        UnparseableMessage: the key is too long, empty, or not storable.
    """
    size = len(storable(key, where=where).encode())
    if not 1 <= size <= MAX_KEY_BYTES:
        raise UnparseableMessage(f"{where} has {size} bytes; S3 keys have 1 to {MAX_KEY_BYTES}")
    return key


def key_of_event(key: str, *, where: str) -> str:
    """The key of an event. What S3 can't have, or PostgreSQL can't store, no replay can change."""
    try:
        return check_key(key, where=where)
    except UnparseableMessage as error:
        raise UnparseableMessage(f"{error}: {_NEVER}") from error


def undecodable(where: str) -> UnparseableMessage:
    """The error of a key that is not UTF-8 when its URL encoding is decoded."""
    return UnparseableMessage(f"{where} is not UTF-8 when decoded, as every key in S3 is: {_NEVER}")


def bucket_of(container: dict[str, Any], *, where: str) -> str:
    """The name in the field `bucket`."""
    bucket = text(mapping(container, "bucket", where=where), "name", where=f"{where}.bucket")
    return storable(bucket, where=f"{where}.bucket.name")


def storable(value: str, *, where: str) -> str:
    """Return the text if PostgreSQL accepts it."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnparseableMessage(f"{where} is not valid Unicode, as every name in S3 is") from error
    if "\0" in value:
        raise UnparseableMessage(f"{where} contains a NUL character, which PostgreSQL can't store")
    return value


def json_object(value: Any, *, what: str) -> dict[str, Any]:
    """The JSON object that a text contains."""
    if not isinstance(value, str):
        raise UnparseableMessage(f"{what} is not text")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnparseableMessage(f"{what} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise UnparseableMessage(f"{what} is not a JSON object")
    return parsed


def mapping(container: Any, name: str, *, where: str) -> dict[str, Any]:
    """The JSON object in a field."""
    value = container.get(name) if isinstance(container, dict) else None
    if not isinstance(value, dict):
        raise UnparseableMessage(f"{where}.{name} is missing or not an object")
    return value


def text(container: Any, name: str, *, where: str) -> str:
    """The text in a field; never empty."""
    value = text_or_empty(container, name)
    if not value:
        raise UnparseableMessage(f"{where}.{name} is missing or not text")
    return value


def text_or_empty(container: Any, name: str) -> str:
    """The text in a field, or nothing."""
    value = container.get(name) if isinstance(container, dict) else None
    return value if isinstance(value, str) else ""
