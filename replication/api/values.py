"""What callers may write in paths, queries and bodies, so that nothing else gets further."""

from typing import Annotated

from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

MAX_ID = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=63)]


def _storable(text: str) -> str:
    """PostgreSQL's text has no NUL, and UTF-8 no halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("has a NUL character, which no key has")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return text


Text = Annotated[str, Field(max_length=1024), AfterValidator(_storable)]


class Body(Schema):
    """A field that nobody knows is a mistake, and is said to be one."""

    model_config = ConfigDict(extra="forbid")
