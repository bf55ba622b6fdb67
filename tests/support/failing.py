"""Checks the error that a store raises."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from replication.errors import ErrorCode, ReplicationError


@contextmanager
def failing(code: ErrorCode) -> Iterator[pytest.ExceptionInfo[ReplicationError]]:
    """Fail unless the block raises a ReplicationError with this code."""
    with pytest.raises(ReplicationError) as caught:
        yield caught
    assert caught.value.code == code, caught.value
