"""Types of the values that callers may send in paths, queries and bodies."""

from typing import Annotated

from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

MAX_ID = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=63)]


def _check_storable(text: str) -> str:
    """Refuse what PostgreSQL can't store: NUL characters and unpaired surrogates."""
    if "\0" in text:
        raise ValueError("has a NUL character, which no key can have")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return text


Text = Annotated[str, Field(max_length=1024), AfterValidator(_check_storable)]


class Body(Schema):
    """A request body; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")
