"""The parts of an object of any size are within OSS's limits and cover the whole object."""

import pytest

from replication.mapping.parts import plan_parts

MIB, GIB, TIB = 1024**2, 1024**3, 1024**4
LARGEST = 10_000 * 5 * GIB


@pytest.mark.parametrize(
    ("size_bytes", "parts", "part_bytes"),
    [
        (MIB + 1, 2, MIB),
        (9_999 * MIB + 1, 10_000, MIB),
        (10_000 * MIB, 10_000, MIB),
        (10_000 * MIB + 1, 5_001, 2 * MIB),
        (20_000 * MIB, 10_000, 2 * MIB),
        (20_000 * MIB + 1, 6_667, 3 * MIB),
        (5 * TIB, 9_987, 525 * MIB),
        (LARGEST - 1, 10_000, 5 * GIB),
        (LARGEST, 10_000, 5 * GIB),
    ],
)
def test_ten_thousand_parts_are_enough(size_bytes: int, parts: int, part_bytes: int) -> None:
    plan = plan_parts(size_bytes, threshold_bytes=MIB, preferred_part_bytes=MIB)
    assert plan is not None
    assert (plan.count, plan.part_size_bytes) == (parts, part_bytes)
    next_byte = 0
    for first, last in plan.ranges():
        assert first == next_byte
        assert 1 <= last - first + 1 <= part_bytes
        next_byte = last + 1
    assert next_byte == size_bytes
