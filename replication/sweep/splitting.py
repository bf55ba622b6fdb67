"""Finds a key at which the rest of a slice can be split, whatever its keys look like.

No delimiter and no alphabet is assumed. The rest of a slice is after its cursor. All keys that
begin with the first `n` characters of the cursor come before the text that is those characters and
the highest character that there is. So one request for a single key after that text tells whether
the slice goes on behind those keys; the shorter the shared beginning, the larger both halves.
"""

from replication.stores.listing import Listable

_HIGHEST = "\U0010ffff"
MAX_START_AFTER_BYTES = 1023  # OSS and S3 take less than 1,024


def find_split(
    source: Listable, *, prefix: str, cursor: str, until: str | None, hint: int = 0
) -> str | None:
    """A key after `cursor` behind which the source has keys of the slice; None if there is none.

    Args:
        prefix: all keys of the sweep begin with it.
        hint: how many characters of the cursor the last split kept: it is tried first, because the
            slices of a bucket look alike.

    Raises:
        Unlistable, ReplicationError: see `list_page` of the stores.
    """
    shared = 1 if until is None else shared_beginning(cursor, until) + 1
    shortest, longest = max(shared, len(prefix) + 1), len(cursor)

    def goes_on_behind(length: int) -> bool:
        after = cursor[:length] + _HIGHEST
        if after <= cursor or len(after.encode()) > MAX_START_AFTER_BYTES:
            return False
        page = source.list_page(prefix=prefix, after=after, limit=1)
        return any(until is None or one.key <= until for one in page.objects)

    if shortest <= hint <= longest and goes_on_behind(hint):
        return cursor[:hint] + _HIGHEST
    if longest < shortest or not goes_on_behind(longest):
        return None
    while shortest < longest:  # the shortest beginning that does
        middle = (shortest + longest) // 2
        if goes_on_behind(middle):
            longest = middle
        else:
            shortest = middle + 1
    return cursor[:longest] + _HIGHEST


def shared_beginning(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
