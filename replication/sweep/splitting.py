"""Finds keys at which the rest of a slice can be split, whatever its keys look like.

No delimiter and no alphabet is assumed. The rest of a slice is after its cursor. All keys that
begin with the first `n` characters of the cursor come before the text that is those characters and
the highest character that there is. So one request for a single key after that text tells whether
the slice goes on behind those keys, and where. The shortest such beginning is where the rest
branches: there it is split, after the first branch, the second, the fourth and so on. One folder
may hold nearly all keys: it is split in its turn.
"""

from collections.abc import Callable

from replication.stores.listing import Listable

_HIGHEST = "\U0010ffff"
MAX_START_AFTER_BYTES = 1023  # OSS and S3 take less than 1,024


def find_splits(source: Listable, *, prefix: str, cursor: str, until: str | None) -> list[str]:
    """Texts after `cursor`, in order, behind each of which the source has keys of the slice.

    A request for each doubling of the branches, and one for each halving of the cursor.

    Args:
        prefix: all keys of the sweep begin with it.

    Raises:
        Unlistable, ReplicationError: see `list_page` of the stores.
    """

    def next_key(text: str) -> str | None:
        """The first key of the slice behind all that begin with the text."""
        after = text + _HIGHEST
        if after <= cursor or len(after.encode()) > MAX_START_AFTER_BYTES:
            return None
        page = source.list_page(prefix=prefix, after=after, limit=1)
        return next((key for key in page.keys if until is None or key <= until), None)

    shared = 0 if until is None else shared_beginning(cursor, until)
    found = _shortest(cursor, next_key, shortest=max(shared, len(prefix)) + 1)
    if found is None:
        return []
    branch, key = found
    stem, splits, beyond = branch[:-1], [branch + _HIGHEST], 0
    while key.startswith(stem):  # unless a highest character hides where the rest branches
        code = max(ord(key[len(stem)]) + beyond, ord(branch[-1]) + 1)
        if code >= ord(_HIGHEST):
            break
        # Surrogates are no characters.
        branch = stem + chr(code if not 0xD800 <= code <= 0xDFFF else 0xE000)
        behind = next_key(branch)
        if behind is None or behind == key:
            break
        splits.append(branch + _HIGHEST)
        key, beyond = behind, 2 * beyond + 1
    return splits


def _shortest(
    cursor: str, next_key: Callable[[str], str | None], *, shortest: int
) -> tuple[str, str] | None:
    """The shortest beginning of the cursor behind which the slice goes on, and the key there."""
    found, longest = None, len(cursor)
    length = shortest  # most often at once: a slice that was split off begins where keys branch
    while shortest <= longest:
        if (key := next_key(cursor[:length])) is not None:
            found, longest = (cursor[:length], key), length - 1
        else:
            shortest = length + 1
        length = (shortest + longest) // 2
    return found


def narrowness(cursor: str, until: str | None) -> tuple[int, int]:
    """Sorts slices by how little is probably left of them: by what the keys of their rest share,
    and then by how many branches follow.
    """
    if until is None:
        return 0, -ord(_HIGHEST)
    shared = shared_beginning(cursor, until)
    ends = [ord(one[shared]) if shared < len(one) else 0 for one in (cursor, until)]
    return shared, ends[0] - ends[1]


def shared_beginning(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
