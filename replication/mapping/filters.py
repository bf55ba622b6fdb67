"""Which keys a rule is for: a prefix, a suffix, and globs that keys must or must not match.

A glob is about the whole key, case and all:

| in a glob | stands for |
|---|---|
| `?` | one character other than `/` |
| `*` | any number of characters other than `/`, none too |
| `**` | any number of characters, `/` too |
| `**/` at the start or behind a `/` | any number of folders, none too: `**/a` matches `a` |
| `[abc]`, `[a-z]`, `[!abc]` | one character of these, or not of these; never `/` |

Everything else is itself, backslash and braces too; `[*]` is a star, `[[]` a bracket. Character
means code point: é may be one or two.

A key is read once from left to right whatever the glob, in time proportional to its length: there
is no glob that is slow on some keys, as there are regular expressions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MAX_GLOB_CHARACTERS = 1024

_Accepts = Callable[[str], bool]


class Glob:
    """A glob, ready to match. As states: state i is "the first i steps are done".

    Each step takes one character. The states that the key read so far can be in are the bits of a
    number, so that all of them move on at once.
    """

    def __init__(self, pattern: str) -> None:
        """Read the pattern.

        Raises:
            ValueError: what is wrong with it, in words for the person who wrote it.
        """
        self._literals: dict[str, int] = {}  # for a character, the states whose step is just it
        self._choices: list[tuple[int, _Accepts]] = []
        self._stay = 0  # states that any character leaves as they are
        self._stay_in_folder = 0  # the same for any but a slash
        self._skip = 0  # states that are left by two steps for nothing: "**/" may be no folder
        self._steps = 0
        self._known: dict[str, int] = {}  # _steps_of, for ASCII: the usual, and few
        self._read(pattern)

    def matches(self, key: str) -> bool:
        """Whether the whole key is matched."""
        states = self._entered(1)
        for character in key:
            stay = self._stay if character == "/" else self._stay | self._stay_in_folder
            moved = states & self._steps_of(character)
            states = (states & stay) | self._entered(moved << 1)
            if not states:
                return False
        return bool(states >> self._steps & 1)

    def _entered(self, states: int) -> int:
        # Into the stars of "**/", or past it.
        entered = states & self._skip
        return states | entered << 1 | entered << 2

    def _steps_of(self, character: str) -> int:
        """The states whose step takes this character."""
        states = self._known.get(character)
        if states is None:
            states = self._literals.get(character, 0)
            for bit, accepts in self._choices:
                if accepts(character):
                    states |= bit
            if character.isascii():
                self._known[character] = states
        return states

    def _read(self, pattern: str) -> None:
        if len(pattern) > MAX_GLOB_CHARACTERS:
            raise ValueError(
                f"it has {len(pattern)} characters; {MAX_GLOB_CHARACTERS} are the limit"
            )
        at = 0
        while at < len(pattern):
            character = pattern[at]
            if character == "*":
                at = self._read_stars(pattern, at)
            elif character == "[":
                end = _end_of_class(pattern, at)
                self._choices.append((1 << self._steps, _class(pattern[at + 1 : end])))
                self._steps += 1
                at = end + 1
            else:
                if character == "?":
                    self._choices.append((1 << self._steps, _not_a_slash))
                else:
                    self._add_literal(character)
                self._steps += 1
                at += 1

    def _read_stars(self, pattern: str, start: int) -> int:
        """Read the stars at `start`; returns where to go on."""
        end = start
        while pattern[end : end + 1] == "*":
            end += 1
        if end - start > 2:
            raise ValueError("it has more than two stars in a row")
        if end - start == 1:
            self._stay_in_folder |= 1 << self._steps
            return end
        if pattern[end : end + 1] == "/" and pattern[start - 1 : start] in {"", "/"}:
            # No step leads here but the skip; "**/**/" is the same as "**/".
            while pattern.startswith("**/", end + 1):
                end += 3
            self._skip |= 1 << self._steps
            self._steps += 1
            self._stay |= 1 << self._steps
            self._add_literal("/")
            self._steps += 1
            return end + 1
        self._stay |= 1 << self._steps
        return end

    def _add_literal(self, character: str) -> None:
        self._literals[character] = self._literals.get(character, 0) | 1 << self._steps


def _not_a_slash(character: str) -> bool:
    return character != "/"


def _end_of_class(pattern: str, start: int) -> int:
    """Where the class that begins at `start` ends. As its first character, `]` is one of it."""
    first = start + 2 if pattern.startswith("!", start + 1) else start + 1
    end = pattern.find("]", first + 1)
    if end < 0:
        raise ValueError("a '[' has no ']'; write '[[]' for the character itself")
    return end


def _class(content: str) -> _Accepts:
    if content[0] == "^":
        raise ValueError("write '[!…]' for characters that are not to match, not '[^…]'")
    wanted = content[0] != "!"
    members = content if wanted else content[1:]
    singles: set[str] = set()
    spans: list[tuple[str, str]] = []
    at = 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            first, last = members[at], members[at + 2]
            if first > last:
                raise ValueError(f"the range '{first}-{last}' is the wrong way round")
            spans.append((first, last))
            at += 3
        else:
            singles.add(members[at])
            at += 1
    if "/" in singles:
        raise ValueError("a '/' stands in brackets, which never match one")

    def accepts(character: str) -> bool:
        is_member = character in singles or any(first <= character <= last for first, last in spans)
        return character != "/" and is_member == wanted

    return accepts


@lru_cache(maxsize=1024)
def glob(pattern: str) -> Glob:
    """The glob; a repeated one is read once. ValueError as Glob's."""
    return Glob(pattern)


def parse_globs(text: str) -> tuple[str, ...]:
    """The globs of a text with one on each line; space around them and empty lines don't count.

    A space at the end of a glob is written `[ ]`.

    Raises:
        ValueError: a line is no glob; the text names the line and says why.
    """
    patterns = []
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = line.strip()
        if not pattern:
            continue
        try:
            glob(pattern)
        except ValueError as error:
            raise ValueError(f"line {number}, {pattern!r}: {error}") from error
        patterns.append(pattern)
    return tuple(patterns)


@dataclass(frozen=True)
class KeyFilter:
    """The keys that begin and end so, match one of `include` if there is any, and no `exclude`."""

    prefix: str = ""
    suffix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def matches(self, key: str) -> bool:
        """Whether the key is one of them; prefix and suffix may overlap in it."""
        return (
            key.startswith(self.prefix)
            and key.endswith(self.suffix)
            and (not self.include or any(glob(each).matches(key) for each in self.include))
            and not any(glob(each).matches(key) for each in self.exclude)
        )


@lru_cache(maxsize=1024)
def key_filter(prefix: str, suffix: str, include: str, exclude: str) -> KeyFilter:
    """The filter of a rule, whose globs stand one on each line; a repeated one is read once.

    Raises:
        ValueError: as parse_globs.
    """
    return KeyFilter(prefix, suffix, parse_globs(include), parse_globs(exclude))
