"""Cuts objects into parts within OSS's limits.

https://help.aliyun.com/document_detail/31850.html. The largest object, 10,000 parts of 5 GiB, has
48.8 TiB in OSS and in S3, which had raised its own limit from 5 TiB to that ("50 TB") by December
2025. So every S3 object fits into OSS.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from replication.errors import ErrorCode, ReplicationError

MIB = 1024**2
MAX_PUT_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
MIN_PART_BYTES = 100 * 1024  # except for the last part
MAX_PART_BYTES = 5 * 1024**3
MAX_OBJECT_BYTES = MAX_PARTS * MAX_PART_BYTES


@dataclass(frozen=True)
class PartPlan:
    """An object in equal parts; the last part may be smaller. Part numbers start at 1."""

    size_bytes: int
    part_size_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise ValueError(f"an object of {self.size_bytes} bytes can't be cut into parts")
        if not MIN_PART_BYTES <= self.part_size_bytes <= MAX_PART_BYTES:
            raise ValueError(f"parts of {self.part_size_bytes:,} bytes: OSS refuses them")
        if self.count > MAX_PARTS:
            raise ValueError(f"{self.count:,} parts: OSS allows {MAX_PARTS:,}")

    @property
    def count(self) -> int:
        return -(-self.size_bytes // self.part_size_bytes)

    def part(self, number: int) -> tuple[int, int]:
        """The offsets of the part's first and last byte, as in HTTP's `Range`.

        Raises:
            IndexError: there is no such part.
        """
        if not 1 <= number <= self.count:
            raise IndexError(f"part {number} of {self.count}")
        first = (number - 1) * self.part_size_bytes
        return first, min(first + self.part_size_bytes, self.size_bytes) - 1

    def part_bytes(self, number: int) -> int:
        """The length of the part; raises IndexError if there is no such part."""
        first, last = self.part(number)
        return last - first + 1

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The offsets of each part's first and last byte, in order."""
        return (self.part(number) for number in range(1, self.count + 1))


def plan_parts(
    size_bytes: int, *, threshold_bytes: int, preferred_part_bytes: int
) -> PartPlan | None:
    """Plan the parts of an object; None up to the threshold, where one PUT sends the object.

    The part size is a multiple of 1 MiB: the preferred size, or the smallest size with which
    10,000 parts are enough. A threshold above 5 GiB, the limit of one PUT, counts as 5 GiB.

    Raises:
        ReplicationError: OBJECT_TOO_LARGE, for more than MAX_OBJECT_BYTES.
    """
    if size_bytes > MAX_OBJECT_BYTES:
        raise _too_large(size_bytes, limit=MAX_OBJECT_BYTES)
    if size_bytes <= max(0, min(threshold_bytes, MAX_PUT_BYTES)):
        return None
    least = max(preferred_part_bytes, -(-size_bytes // MAX_PARTS), 1)
    return PartPlan(size_bytes, min(-(-least // MIB) * MIB, MAX_PART_BYTES))


def check_size(size_bytes: int) -> None:
    """Refuse an object that is too large for one PUT.

    Raises:
        ReplicationError: OBJECT_TOO_LARGE.
    """
    if size_bytes > MAX_PUT_BYTES:
        raise _too_large(size_bytes, limit=MAX_PUT_BYTES)


def _too_large(size_bytes: int, *, limit: int) -> ReplicationError:
    return ReplicationError(
        ErrorCode.OBJECT_TOO_LARGE, f"it has {size_bytes:,} bytes; the limit is {limit:,}"
    )
