"""Part plans of large objects."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.parts import (
    MAX_OBJECT_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MAX_PUT_BYTES,
    MIB,
    MIN_PART_BYTES,
    PartPlan,
    check_size,
    plan_parts,
)

GIB = 1024**3
THRESHOLD = 64 * MIB
PART = 16 * MIB


def planned(
    size_bytes: int, *, threshold_bytes: int = THRESHOLD, preferred: int = PART
) -> PartPlan | None:
    return plan_parts(size_bytes, threshold_bytes=threshold_bytes, preferred_part_bytes=preferred)


def test_the_size_limit_is_the_size_limit_of_s3() -> None:
    assert MAX_OBJECT_BYTES == 53_687_091_200_000  # 48.8 TiB


@pytest.mark.parametrize("size_bytes", [0, 1, THRESHOLD - 1, THRESHOLD])
def test_up_to_the_threshold_one_put_is_enough(size_bytes: int) -> None:
    assert planned(size_bytes) is None


@pytest.mark.parametrize(
    ("size_bytes", "part_size_bytes", "count"),
    [
        (THRESHOLD + 1, PART, 5),
        (5 * GIB - 1, PART, 320),
        (5 * GIB, PART, 320),
        (5 * GIB + 1, PART, 321),
        (PART * MAX_PARTS, PART, 10_000),
        (PART * MAX_PARTS + 1, PART + MIB, 9412),
        (MAX_OBJECT_BYTES - 1, 5 * GIB, 10_000),
        (MAX_OBJECT_BYTES, 5 * GIB, 10_000),
    ],
)
def test_parts_grow_only_if_ten_thousand_are_not_enough(
    size_bytes: int, part_size_bytes: int, count: int
) -> None:
    plan = planned(size_bytes)
    assert plan == PartPlan(size_bytes, part_size_bytes)
    assert plan.count == count


def test_an_object_over_the_limit_is_refused() -> None:
    with pytest.raises(ReplicationError, match="53,687,091,200,001 bytes; the limit is") as caught:
        planned(MAX_OBJECT_BYTES + 1)
    assert caught.value.code == ErrorCode.OBJECT_TOO_LARGE


def test_a_threshold_over_the_limit_of_one_put_counts_as_that_limit() -> None:
    assert planned(5 * GIB, threshold_bytes=MAX_OBJECT_BYTES) is None
    assert planned(5 * GIB + 1, threshold_bytes=MAX_OBJECT_BYTES) is not None


def test_an_empty_object_has_no_parts_even_without_a_threshold() -> None:
    assert planned(0, threshold_bytes=-1) is None
    assert planned(1, threshold_bytes=0) == PartPlan(1, PART)


edges = st.sampled_from([THRESHOLD, MAX_PUT_BYTES, PART * MAX_PARTS, MAX_OBJECT_BYTES])
sizes = st.one_of(
    st.integers(0, MAX_OBJECT_BYTES),
    st.builds(lambda edge, off: min(edge + off, MAX_OBJECT_BYTES), edges, st.integers(-2, 2)),
)


@given(sizes, st.integers(0, 10 * GIB), st.integers(-1, 10 * GIB))
@example(MAX_OBJECT_BYTES, 0, 1)
@example(1, 0, 0)
def test_every_plan_is_within_the_limits_of_oss(size: int, threshold: int, preferred: int) -> None:
    plan = planned(size, threshold_bytes=threshold, preferred=preferred)
    if plan is None:
        assert size <= min(threshold, MAX_PUT_BYTES)
        return
    assert plan.part_size_bytes % MIB == 0
    assert MIN_PART_BYTES <= plan.part_size_bytes <= MAX_PART_BYTES
    assert 1 <= plan.count <= MAX_PARTS
    assert plan.part(1)[0] == 0
    assert plan.part(plan.count)[1] == size - 1
    assert 1 <= plan.part_bytes(plan.count) <= plan.part_size_bytes


@given(st.integers(1, 3000 * MIN_PART_BYTES), st.integers(MIN_PART_BYTES, 9 * MIB))
@example(2 * MIB, MIB)
@example(2 * MIB + 1, MIB)
def test_the_parts_cover_the_object_without_gap_or_overlap(size: int, part_size: int) -> None:
    plan = PartPlan(size, part_size)
    ranges = list(plan.ranges())
    assert len(ranges) == plan.count
    assert ranges == [plan.part(number) for number in range(1, plan.count + 1)]
    position = 0
    for number, (first, last) in enumerate(ranges, start=1):
        assert first == position
        assert plan.part_bytes(number) == last - first + 1
        assert number == plan.count or last - first + 1 == part_size
        position = last + 1
    assert position == size


@pytest.mark.parametrize("number", [-1, 0, 4])
def test_there_is_no_part_before_the_first_or_after_the_last(number: int) -> None:
    with pytest.raises(IndexError, match=f"part {number} of 3"):
        PartPlan(3 * MIB, MIB).part(number)


@pytest.mark.parametrize(
    ("size_bytes", "part_size_bytes"),
    [(0, MIB), (1, MIN_PART_BYTES - 1), (1, MAX_PART_BYTES + 1), (MAX_PARTS * MIB + 1, MIB)],
)
def test_a_plan_that_oss_would_refuse_is_an_error(size_bytes: int, part_size_bytes: int) -> None:
    with pytest.raises(ValueError, match=r"bytes|parts"):
        PartPlan(size_bytes, part_size_bytes)


def test_one_put_is_limited_to_5_gib() -> None:
    check_size(0)
    check_size(MAX_PUT_BYTES)
    with pytest.raises(ReplicationError, match="5,368,709,121 bytes") as caught:
        check_size(MAX_PUT_BYTES + 1)
    assert caught.value.code == ErrorCode.OBJECT_TOO_LARGE
