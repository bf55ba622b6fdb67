"""The CRC-64 of an object, combined from those of its parts as OSS does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.stores.checksums import CRC64, combine_crc64


def crc(data: bytes) -> str:
    return str(CRC64.calc(data))


def test_the_checksum_is_the_crc_64_of_oss() -> None:
    assert CRC64.calc(b"123456789") == 0x995DC9BBDF1939FA
    assert combine_crc64([(crc(b"123456789"), 9)]) == "11051210869376104954"


def test_an_object_of_no_parts_has_the_checksum_of_no_bytes() -> None:
    assert combine_crc64([]) == crc(b"") == "0"


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_the_checksums_of_the_parts_combine_to_that_of_the_whole(parts: list[bytes]) -> None:
    assert combine_crc64([(crc(part), len(part)) for part in parts]) == crc(b"".join(parts))


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=5))
def test_the_order_of_the_parts_matters(parts: list[bytes]) -> None:
    backwards = parts[::-1]
    whole, other = b"".join(parts), b"".join(backwards)
    if whole != other:
        pairs = [(crc(part), len(part)) for part in backwards]
        assert combine_crc64(pairs) != crc(whole)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1).map(str), st.integers(0, 5 * 1024**3)),
        min_size=3,
        max_size=3,
    )
)
def test_parts_of_gigabytes_can_be_joined_in_any_grouping(
    parts: list[tuple[str, int]],
) -> None:
    first, second, third = parts
    left = (combine_crc64([first, second]), first[1] + second[1])
    assert combine_crc64([left, third]) == combine_crc64(parts)


def test_thousands_of_parts_of_4_gib_combine_as_doubling_does() -> None:
    # Zeros by doubling, and by joining equal parts. The lengths exceed 32 bits by far.
    checksum, size_bytes = crc(bytes(1024)), 1024
    while size_bytes < 2**45:
        if size_bytes == 2**32:
            part = (checksum, size_bytes)
        checksum = combine_crc64([(checksum, size_bytes), (checksum, size_bytes)])
        size_bytes *= 2
    assert combine_crc64([part] * (size_bytes // 2**32)) == checksum


@pytest.mark.parametrize("text", ["", "-1", "0x1", "1.0", "1 ", "²", "٣", str(2**64)])
def test_an_invalid_checksum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a CRC-64 in decimal"):
        combine_crc64([(text, 1)])


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a part of -1 bytes"):
        combine_crc64([("1", -1)])
