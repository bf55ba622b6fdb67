"""What a store raises."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from replication.errors import ErrorCode, ReplicationError


@contextmanager
def failing(code: ErrorCode) -> Iterator[pytest.ExceptionInfo[ReplicationError]]:
    """Passes if the block raises an error of this code."""
    with pytest.raises(ReplicationError) as caught:
        yield caught
    assert caught.value.code == code, caught.value
