"""Key filters: globs, prefixes and suffixes."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.mapping import filters
from replication.mapping.filters import (
    MAX_GLOB_CHARACTERS,
    MAX_GLOBS,
    Glob,
    KeyFilter,
    check_globs,
    key_filter,
    parse_globs,
)

MATCHES = [
    ("", ""),
    ("a/b.txt", "a/b.txt"),
    ("*", ""),
    ("*", "a b.txt"),
    ("*.txt", ".txt"),
    ("a*c", "abbc"),
    ("a*b*c", "abbcc"),
    ("?", "图"),
    ("**", "a/b/c"),
    ("**", ""),
    ("a/**", "a/"),
    ("a/**", "a/b/c"),
    ("a**z", "a/b/z"),
    ("**/*.jpg", "a.jpg"),
    ("**/*.jpg", "/a.jpg"),
    ("**/*.jpg", "x/y/a.jpg"),
    ("a/**/b", "a/b"),
    ("a/**/b", "a/x/y/b"),
    ("a/**/b", "a//b"),
    ("a/**/**/b", "a/b"),
    ("**/**/b", "b"),
    ("a**/b", "ax/y/b"),
    ("[abc]x", "bx"),
    ("[a-c]x", "bx"),
    ("[!a-c]x", "dx"),
    ("[]]", "]"),
    ("[!]]", "a"),
    ("[a-]", "-"),
    ("[*]", "*"),
    ("[[]", "["),
    ("[?]", "?"),
    ("[!^]", "a"),
    ("a]b", "a]b"),
    ("{a,b}", "{a,b}"),
    ("a\\*", "a\\b"),
    ("a.c", "a.c"),
    ("line*", "line\nbreak"),
    ("[à-ü]", "é"),
]
DIFFERS = [
    ("", "a"),
    ("a", ""),
    ("a", "A"),
    ("A", "a"),
    ("a", "ab"),
    ("b", "ab"),
    ("*", "a/b"),
    ("*.txt", "a/b.txt"),
    ("a*c", "a/c"),
    ("?", "/"),
    ("?", ""),
    ("?", "ab"),
    ("a/**", "a"),
    ("a/**/b", "ab"),
    ("a/**/b", "a/xb"),
    ("**/b", "xb"),
    ("a**/b", "a"),
    ("a**/b", "ab"),
    ("[abc]", "d"),
    ("[!a]", "a"),
    ("[!a]", "/"),
    ("[.-0]", "/"),
    ("[a-c]", "b/"),
    ("a.c", "abc"),
    ("[a-]", "b"),
]


@pytest.mark.parametrize(("pattern", "key"), MATCHES)
def test_a_glob_matches(pattern: str, key: str) -> None:
    assert Glob(pattern).matches(key)


@pytest.mark.parametrize(("pattern", "key"), DIFFERS)
def test_a_glob_does_not_match(pattern: str, key: str) -> None:
    assert not Glob(pattern).matches(key)


TOKENS = re.compile(r"(?:^|(?<=/))(?:\*\*/)+|\*\*|.")
EXPRESSIONS = {"*": "[^/]*", "**": ".*", "?": "[^/]"}


def regular_expression(pattern: str) -> re.Pattern[str]:
    """The same glob as a regular expression, which is slow on some keys."""
    return re.compile(
        "".join(
            "(?:.*/)?" if token.startswith("**/") else EXPRESSIONS.get(token, token)
            for token in TOKENS.findall(pattern)
        )
    )


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "?", "/", "**/"]), max_size=8)
    .map("".join)
    .filter(lambda pattern: "***" not in pattern),
    st.text("ab/", max_size=10),
)
def test_a_glob_matches_the_same_keys_as_the_regular_expression(pattern: str, key: str) -> None:
    expected = regular_expression(pattern).fullmatch(key) is not None
    assert Glob(pattern).matches(key) == expected


@given(st.text(st.characters(exclude_characters="*?["), max_size=40))
def test_a_glob_without_wildcards_matches_only_itself(key: str) -> None:
    assert Glob(key).matches(key)
    assert not Glob(key).matches(key + "x")


def test_a_glob_is_fast_even_on_the_worst_key() -> None:
    pattern = "**a" * 300 + "b"
    started_at = time.process_time()
    assert not Glob(pattern).matches("a" * 1024)
    # Backtracking would take longer than the age of the universe; this takes milliseconds.
    assert time.process_time() - started_at < 1


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a***", "more than two stars in a row"),
        ("[abc", "a '[' has no closing ']'"),
        ("[]", "a '[' has no closing ']'"),
        ("[!]", "a '[' has no closing ']'"),
        ("[^a]", "write '[!…]'"),
        ("[z-a]", "the range 'z-a' is in reverse order"),
        ("[a/]", "there is a '/' in brackets"),
        ("x" * (MAX_GLOB_CHARACTERS + 1), "1025 characters; the limit is 1024"),
    ],
)
def test_an_invalid_glob_is_refused_with_a_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        Glob(pattern)


def test_each_line_of_a_text_is_a_glob() -> None:
    assert parse_globs("") == ()
    assert parse_globs("  \r\n*.jpg \r\n\n\ta b/**\n[ ]\n") == ("*.jpg", "a b/**", "[ ]")


def test_the_error_names_the_invalid_line() -> None:
    with pytest.raises(ValueError, match=r"^line 3, 'a\*\*\*': it has more than two stars"):
        parse_globs("*.jpg\n\na***")


def test_the_globs_of_a_filter_are_compiled_once_however_many_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "\n".join(f"folder-{number}/**/*.jpg" for number in range(4000))
    made = key_filter("", "", text, "")
    assert made.matches("folder-3999/a/b.jpg")
    monkeypatch.setattr(filters, "Glob", None)
    assert key_filter("", "", text, "").matches("folder-0/a.jpg")
    assert not made.matches("elsewhere/a.jpg")


def test_more_globs_than_a_key_can_be_matched_with_soon_are_not_saved() -> None:
    most = "\n".join(f"folder-{number}/**" for number in range(MAX_GLOBS))
    check_globs(most)
    with pytest.raises(ValueError, match="there are 201 globs; the limit is 200"):
        check_globs(f"{most}\n*.jpg")


@pytest.mark.parametrize(
    ("chosen", "key", "expected"),
    [
        (KeyFilter(), "", True),
        (KeyFilter(), "any/thing", True),
        (KeyFilter(prefix="a/"), "a/b", True),
        (KeyFilter(prefix="a/"), "A/b", False),
        (KeyFilter(suffix=".txt"), "a.txt", True),
        (KeyFilter(suffix=".txt"), "a.TXT", False),
        (KeyFilter(prefix="aba", suffix="ba"), "aba", True),
        (KeyFilter(prefix="*"), "a", False),
        (KeyFilter(include=("*.jpg", "*.png")), "a.png", True),
        (KeyFilter(include=("*.jpg", "*.png")), "a.gif", False),
        (KeyFilter(exclude=("tmp/**",)), "tmp/a", False),
        (KeyFilter(exclude=("tmp/**",)), "a", True),
        (KeyFilter(include=("**/*.jpg",), exclude=("tmp/**",)), "tmp/a.jpg", False),
        (KeyFilter(prefix="a/", include=("b",)), "a/b", False),
        (KeyFilter(prefix="a/", include=("a/b",)), "a/b", True),
    ],
)
def test_a_filter_accepts_a_key_that_meets_all_its_conditions(
    chosen: KeyFilter, key: str, expected: bool
) -> None:
    assert chosen.matches(key) == expected
