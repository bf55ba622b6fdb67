"""Which keys a rule is for."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.mapping.filters import MAX_GLOB_CHARACTERS, Glob, KeyFilter, glob, parse_globs

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


SIGNS = re.compile(r"(?:^|(?<=/))(?:\*\*/)+|\*\*|.")
WORDS = {"*": "[^/]*", "**": ".*", "?": "[^/]"}


def regular_expression(pattern: str) -> re.Pattern[str]:
    """The same glob by other means, which are slow on some keys."""
    signs = SIGNS.findall(pattern)
    words = ["(?:.*/)?" if sign.startswith("**/") else WORDS.get(sign, sign) for sign in signs]
    return re.compile("".join(words))


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "?", "/", "**/"]), max_size=8)
    .map("".join)
    .filter(lambda pattern: "***" not in pattern),
    st.text("ab/", max_size=10),
)
def test_a_glob_matches_what_the_regular_expression_does(pattern: str, key: str) -> None:
    expected = regular_expression(pattern).fullmatch(key) is not None
    assert Glob(pattern).matches(key) == expected


@given(st.text(st.characters(exclude_characters="*?["), max_size=40))
def test_a_glob_without_signs_is_the_key_itself(key: str) -> None:
    assert Glob(key).matches(key)
    assert not Glob(key).matches(key + "x")


def test_no_glob_is_slow_on_the_key_that_would_be_the_worst() -> None:
    pattern = "**a" * 300 + "b"
    started_at = time.process_time()
    assert not Glob(pattern).matches("a" * 1024)
    # Backtracking would take longer than the universe has been there; this takes milliseconds.
    assert time.process_time() - started_at < 1


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a***", "more than two stars in a row"),
        ("[abc", "a '[' has no ']'"),
        ("[]", "a '[' has no ']'"),
        ("[!]", "a '[' has no ']'"),
        ("[^a]", "write '[!…]'"),
        ("[z-a]", "the range 'z-a' is the wrong way round"),
        ("[a/]", "a '/' stands in brackets"),
        ("x" * (MAX_GLOB_CHARACTERS + 1), "1025 characters; 1024 are the limit"),
    ],
)
def test_a_bad_glob_is_refused_in_words(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        Glob(pattern)


def test_a_text_has_a_glob_on_each_line() -> None:
    assert parse_globs("") == ()
    assert parse_globs("  \r\n*.jpg \r\n\n\ta b/**\n[ ]\n") == ("*.jpg", "a b/**", "[ ]")


def test_a_bad_line_of_a_text_is_named() -> None:
    with pytest.raises(ValueError, match=r"^line 3, 'a\*\*\*': it has more than two stars"):
        parse_globs("*.jpg\n\na***")


def test_a_glob_is_read_once() -> None:
    assert glob("**/*.png") is glob("**/*.png")


@pytest.mark.parametrize(
    ("key_filter", "key", "expected"),
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
def test_a_filter_asks_for_all_that_it_has(key_filter: KeyFilter, key: str, expected: bool) -> None:
    assert key_filter.matches(key) == expected
