"""Finds a key at which the rest of a slice can be split, whatever its keys look like.

No delimiter and no alphabet is assumed. The rest of a slice is after its cursor. All keys that
begin with the first `n` characters of the cursor come before the text that is those characters and
the highest character that there is. So one request for a single key after that text tells whether
the slice goes on behind those keys. The shortest such beginning is where the rest branches, and all
that is behind it is given away. In a flat folder that may be just behind the cursor, and be passed
before whoever holds the slice hears of it: then the next split is tried farther ahead.
"""

from collections.abc import Callable

from replication.stores.listing import Listable

_HIGHEST = "\U0010ffff"
MAX_START_AFTER_BYTES = 1023  # OSS and S3 take less than 1,024


def find_split(
    source: Listable,
    *,
    prefix: str,
    cursor: str,
    until: str | None,
    hint: int = 0,
    ahead: int = 0,
) -> str | None:
    """A key after `cursor` behind which the source has keys of the slice; None if there is none.

    Args:
        prefix: all keys of the sweep begin with it.
        hint: where the rest of another slice of the bucket branched: it is tried first, because
            they look alike.
        ahead: how many characters farther than the next one to split, if the slice goes on there.

    Raises:
        Unlistable, ReplicationError: see `list_page` of the stores.
    """

    def goes_on_behind(text: str) -> bool:
        after = text + _HIGHEST
        if after <= cursor or len(after.encode()) > MAX_START_AFTER_BYTES:
            return False
        page = source.list_page(prefix=prefix, after=after, limit=1)
        return any(until is None or one.key <= until for one in page.objects)

    shared = 1 if until is None else shared_beginning(cursor, until) + 1
    shortest, longest = max(shared, len(prefix) + 1), len(cursor)
    if shortest <= hint <= longest and goes_on_behind(cursor[:hint]):
        branch = hint
    elif longest < shortest or not goes_on_behind(cursor):
        return None
    else:
        branch = _shortest(cursor, goes_on_behind, shortest, longest)
    return _farther(cursor[:branch], ahead, goes_on_behind) + _HIGHEST


def _shortest(
    cursor: str, goes_on_behind: Callable[[str], bool], shortest: int, longest: int
) -> int:
    """The length of the shortest beginning of the cursor behind which the slice goes on."""
    while shortest < longest:
        middle = (shortest + longest) // 2
        if goes_on_behind(cursor[:middle]):
            longest = middle
        else:
            shortest = middle + 1
    return longest


def _farther(beginning: str, ahead: int, goes_on_behind: Callable[[str], bool]) -> str:
    """The same beginning with a higher last character, so many ahead or fewer."""
    stem, last = beginning[:-1], ord(beginning[-1])
    while ahead:
        code = last + ahead
        is_character = code < ord(_HIGHEST) and not 0xD800 <= code <= 0xDFFF
        if is_character and goes_on_behind(stem + chr(code)):
            return stem + chr(code)
        ahead //= 2
    return beginning


def shared_beginning(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
