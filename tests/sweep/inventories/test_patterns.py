"""A rule's globs are the same as expressions of RE2, which DuckDB uses."""

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replication.mapping.filters import Glob
from replication.sweep.inventories.patterns import regexp_of_glob, regexp_of_suffix

ALPHABET = "ab/.*?[]!^-\\&|(){}$+ \n0é\U0001f600\ue000"


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def is_glob(text: str) -> bool:
    try:
        Glob(text)
    except ValueError:
        return False
    return True


def matched(engine: duckdb.DuckDBPyConnection, regexp: str, keys: list[str]) -> list[bool]:
    rows = engine.execute(
        "SELECT regexp_matches(key, $1) FROM (SELECT unnest($2::varchar[]) AS key)", [regexp, keys]
    ).fetchall()
    return [row[0] for row in rows]


pieces = st.lists(
    st.sampled_from(["*", "**", "**/", "/", "?", "a", "b", "[ab]", "[!a]", "[+-9]", "[]-]", "\\."])
    | st.text(ALPHABET, max_size=3),
    max_size=6,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(pieces.filter(is_glob), st.lists(st.text(ALPHABET, max_size=8), min_size=20, max_size=40))
@example("[/-/]", ["/", "a"])
@example("[!/-/]x", ["/x", "ax"])
@example("[!-~]", list("/.0!~-"))
@example("[[&]", list("[&"))
@example("a/**/**/b", ["a/b", "a/x/b", "a/x/y\n/b", "ab"])
def test_an_expression_matches_what_its_glob_matches(
    engine: duckdb.DuckDBPyConnection, pattern: str, keys: list[str]
) -> None:
    glob = Glob(pattern)
    assert matched(engine, regexp_of_glob(pattern), keys) == [glob.matches(key) for key in keys]


@given(st.text(ALPHABET, min_size=1, max_size=3), st.lists(st.text(ALPHABET, max_size=5)))
@settings(max_examples=50, deadline=None)
def test_a_suffix_ends_a_key(
    engine: duckdb.DuckDBPyConnection, suffix: str, keys: list[str]
) -> None:
    keys = [*keys, *(key + suffix for key in keys), f"{suffix}\n"]
    found = matched(engine, regexp_of_suffix(suffix), keys)
    assert found == [key.endswith(suffix) for key in keys]
