"""Key filters: a prefix, a suffix, and globs that a key must or must not match.

A glob matches the whole key, and is case-sensitive:

| in a glob | matches |
|---|---|
| `?` | one character other than `/` |
| `*` | zero or more characters other than `/` |
| `**` | zero or more characters, including `/` |
| `**/` at the start or after a `/` | zero or more folders: `**/a` matches `a` |
| `[abc]`, `[a-z]`, `[!abc]` | one character in the set, or not in the set; never `/` |

Every other character matches itself, including backslash and braces; `[*]` matches a star, `[[]` a
bracket. A character is a code point: é may be one or two.

Matching reads a key once from left to right, in time proportional to its length. Unlike a regular
expression, no glob is slow on some keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

MAX_GLOB_CHARACTERS = 1024
MAX_GLOBS = 200  # a key is matched in a tenth of a second at most

_Accepts = Callable[[str], bool]


class Glob:
    """A compiled glob: a nondeterministic automaton. State i means "the first i steps are done".

    Each step consumes one character. The set of states that are possible after the characters read
    so far is a bit mask, so that all states advance at once.
    """

    def __init__(self, pattern: str) -> None:
        """Compile the pattern.

        Raises:
            ValueError: the pattern is not valid; the text tells its author why.
        """
        self._literals: dict[str, int] = {}  # by character: the states whose step is that character
        self._choices: list[tuple[int, _Accepts]] = []
        self._loops = 0  # states that loop on any character
        self._loops_in_folder = 0  # states that loop on any character but a slash
        self._skip = 0  # states at the start of a "**/", which may match no folder
        self._steps = 0
        self._ascii_states: dict[str, int] = {}  # cache of _states_taking for ASCII characters
        self._compile(pattern)

    def matches(self, key: str) -> bool:
        """Whether the glob matches the whole key."""
        states = self._with_skips(1)
        for character in key:
            loops = self._loops if character == "/" else self._loops | self._loops_in_folder
            moved = states & self._states_taking(character)
            states = (states & loops) | self._with_skips(moved << 1)
            if not states:
                return False
        return bool(states >> self._steps & 1)

    def _with_skips(self, states: int) -> int:
        # The states at the start of a "**/" also enter its stars, and skip it.
        at_start = states & self._skip
        return states | at_start << 1 | at_start << 2

    def _states_taking(self, character: str) -> int:
        """The states whose step takes this character."""
        states = self._ascii_states.get(character)
        if states is None:
            states = self._literals.get(character, 0)
            for bit, accepts in self._choices:
                if accepts(character):
                    states |= bit
            if character.isascii():
                self._ascii_states[character] = states
        return states

    def _compile(self, pattern: str) -> None:
        if len(pattern) > MAX_GLOB_CHARACTERS:
            raise ValueError(
                f"it has {len(pattern)} characters; the limit is {MAX_GLOB_CHARACTERS}"
            )
        at = 0
        while at < len(pattern):
            character = pattern[at]
            if character == "*":
                at = self._compile_stars(pattern, at)
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

    def _compile_stars(self, pattern: str, start: int) -> int:
        """Compile the stars at `start`. Returns the index after them."""
        end = start
        while pattern[end : end + 1] == "*":
            end += 1
        if end - start > 2:
            raise ValueError("it has more than two stars in a row")
        if end - start == 1:
            self._loops_in_folder |= 1 << self._steps
            return end
        if pattern[end : end + 1] == "/" and pattern[start - 1 : start] in {"", "/"}:
            # Only the skip enters the star state; a repeated "**/" adds nothing.
            while pattern.startswith("**/", end + 1):
                end += 3
            self._skip |= 1 << self._steps
            self._steps += 1
            self._loops |= 1 << self._steps
            self._add_literal("/")
            self._steps += 1
            return end + 1
        self._loops |= 1 << self._steps
        return end

    def _add_literal(self, character: str) -> None:
        self._literals[character] = self._literals.get(character, 0) | 1 << self._steps


def _not_a_slash(character: str) -> bool:
    return character != "/"


def _end_of_class(pattern: str, start: int) -> int:
    """The index of the class's closing `]`. A `]` as the first character is a member."""
    first = start + 2 if pattern.startswith("!", start + 1) else start + 1
    end = pattern.find("]", first + 1)
    if end < 0:
        raise ValueError("a '[' has no closing ']'; write '[[]' to match the character '['")
    return end


def _class(content: str) -> _Accepts:
    if content[0] == "^":
        raise ValueError("'[^…]' is not supported; write '[!…]' for characters that must not match")
    wanted = content[0] != "!"
    members = content if wanted else content[1:]
    singles: set[str] = set()
    spans: list[tuple[str, str]] = []
    at = 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            first, last = members[at], members[at + 2]
            if first > last:
                raise ValueError(f"the range '{first}-{last}' is in reverse order")
            spans.append((first, last))
            at += 3
        else:
            singles.add(members[at])
            at += 1
    if "/" in singles:
        raise ValueError("there is a '/' in brackets, but brackets never match a '/'")

    def accepts(character: str) -> bool:
        is_member = character in singles or any(first <= character <= last for first, last in spans)
        return character != "/" and is_member == wanted

    return accepts


def parse_globs(text: str) -> tuple[str, ...]:
    """The globs in a text with one on each line; surrounding space and empty lines are ignored.

    Write a space at the end of a glob as `[ ]`.

    Raises:
        ValueError: a line is not a valid glob; the text names the line and says why.
    """
    patterns = []
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = line.strip()
        if not pattern:
            continue
        try:
            Glob(pattern)
        except ValueError as error:
            raise ValueError(f"line {number}, {pattern!r}: {error}") from error
        patterns.append(pattern)
    return tuple(patterns)


def check_globs(text: str) -> None:
    """Check globs that are to be saved.

    Raises:
        ValueError: see parse_globs; or there are more than MAX_GLOBS.
    """
    number = len(parse_globs(text))
    if number > MAX_GLOBS:
        raise ValueError(
            f"there are {number:,} globs; the limit is {MAX_GLOBS}: use prefixes or shorter lists"
        )


@dataclass(frozen=True)
class KeyFilter:
    """Keys with this prefix and suffix that match an `include`, if any, and no `exclude`."""

    prefix: str = ""
    suffix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def matches(self, key: str) -> bool:
        """Whether the filter accepts the key; prefix and suffix may overlap."""
        return (
            key.startswith(self.prefix)
            and key.endswith(self.suffix)
            and (not self.include or any(each.matches(key) for each in self._included))
            and not any(each.matches(key) for each in self._excluded)
        )

    @cached_property
    def _included(self) -> tuple[Glob, ...]:
        return tuple(map(Glob, self.include))

    @cached_property
    def _excluded(self) -> tuple[Glob, ...]:
        return tuple(map(Glob, self.exclude))


@lru_cache(maxsize=1024)
def key_filter(prefix: str, suffix: str, include: str, exclude: str) -> KeyFilter:
    """A rule's filter, from a cache; `include` and `exclude` have one glob on each line.

    Raises:
        ValueError: see parse_globs.
    """
    return KeyFilter(prefix, suffix, parse_globs(include), parse_globs(exclude))
