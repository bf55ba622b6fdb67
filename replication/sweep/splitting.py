"""Finds a key at which the rest of a slice can be split, whatever its keys look like.

No delimiter and no alphabet is assumed. The rest of a slice is after its cursor. All keys that
begin with the first `n` characters of the cursor come before the text that is those characters and
the highest character that there is. So one request for a single key after that text tells whether
the slice goes on behind those keys. The shortest such beginning is where the rest branches.

At first, all behind the branch is given away: one folder may hold nearly all keys. Later about half
of the branches is: in a flat folder the next one is just behind the cursor.
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
    halves: bool = False,
) -> str | None:
    """A key after `cursor` behind which the source has keys of the slice; None if there is none.

    Args:
        prefix: all keys of the sweep begin with it.
        halves: whether to leave about half of the branches before the split, not only the first.

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
    if longest < shortest or not goes_on_behind(cursor):
        return None
    branch = cursor[: _shortest(cursor, goes_on_behind, shortest, longest)]
    return (_halfway(branch, goes_on_behind) if halves else branch) + _HIGHEST


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


def _halfway(branch: str, goes_on_behind: Callable[[str], bool]) -> str:
    """The branch about halfway to the last one: by steps that double until they go too far."""
    stem, first = branch[:-1], ord(branch[-1])
    halfway, step = branch, 1
    while (code := first + step) < ord(_HIGHEST):
        # Surrogates are no characters.
        farther = stem + chr(code if not 0xD800 <= code <= 0xDFFF else 0xE000)
        if not goes_on_behind(farther):
            break
        halfway, branch, step = branch, farther, 2 * step
    return halfway


def shared_beginning(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
