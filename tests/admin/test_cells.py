"""Durations and sizes, formatted for operators."""

from datetime import timedelta

import pytest

from replication.admin.cells import NOTHING, duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.033, "0.03 s"),
        (9.99, "9.99 s"),
        (42.4, "42 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (100_800, "1 d 4 h"),
    ],
)
def test_a_duration_is_rounded(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_an_unknown_value_is_a_dash() -> None:
    assert (duration(None), size(None)) == (NOTHING, NOTHING)


def test_an_empty_object_has_a_size() -> None:
    assert size(0) == "0\u00a0bytes"
