"""Traffic through the queue: objects are put, overwritten and deleted all the time."""

import random
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg

from sandbox.environment import Sandbox
from tests.upgrade.installation import LIVE

_DELETES = 0.1
_OVERWRITES = 0.2


class Traffic:
    """Changes so many objects a second, until the context ends."""

    def __init__(self, sandbox: Sandbox, *, per_second: float, seed: int) -> None:
        self._s3 = sandbox.aws.client("s3")
        self._bucket = sandbox.source_bucket
        self._per_second = per_second
        self._chance = random.Random(seed)
        self._keys: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._failure: Exception | None = None
        self.changes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop; raises what the traffic met."""
        self._stop.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self._change()
                due += 1 / self._per_second
        except Exception as error:
            self._failure = error

    def _change(self) -> None:
        what = self._chance.random()
        if what < _DELETES and self._keys:
            key = self._keys.pop(self._chance.randrange(len(self._keys)))
            self._s3.delete_object(Bucket=self._bucket, Key=key)
        else:
            key = f"{LIVE}{self.changes}"
            if what < _DELETES + _OVERWRITES and self._keys:
                key = self._chance.choice(self._keys)
            else:
                self._keys.append(key)
            body = self._chance.randbytes(self._chance.randrange(1, 5000))
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)
        self.changes += 1


@dataclass(frozen=True)
class Window:
    """How live traffic went in a stretch of time: lags from event to completion, and the longest
    time between two completions."""

    name: str
    seconds: float
    jobs: int
    median_lag_seconds: float
    p99_lag_seconds: float
    longest_gap_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name:<34} {self.seconds:6.0f} s {self.jobs:6} jobs  "
            f"lag p50 {self.median_lag_seconds:6.2f} s, p99 {self.p99_lag_seconds:6.2f} s, "
            f"longest gap {self.longest_gap_seconds:5.2f} s"
        )


def window(
    database: psycopg.Connection, jobs: str, name: str, began: float, ended: float
) -> Window:
    """The figures of the jobs that completed between two moments, in seconds of the epoch; `jobs`
    is the table that has them."""
    row = database.execute(
        f"""
        SELECT count(*),
               coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY lag), 'NaN'),
               coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY lag), 'NaN'),
               greatest(coalesce(max(gap), 0), %(ended)s - coalesce(max(at), %(began)s))
        FROM (SELECT extract(epoch FROM finalized_at)::float8 AS at,
                     extract(epoch FROM finalized_at - event_at)::float8 AS lag,
                     extract(epoch FROM finalized_at)::float8 - lag(
                         extract(epoch FROM finalized_at)::float8, 1, %(began)s
                     ) OVER (ORDER BY finalized_at) AS gap
              FROM {jobs}
              WHERE state = 'completed' AND key LIKE %(live)s
                AND finalized_at >= to_timestamp(%(began)s)
                AND finalized_at < to_timestamp(%(ended)s)) AS done
        """,
        {"began": began, "ended": ended, "live": f"{LIVE}%"},
    ).fetchone()
    assert row is not None
    return Window(name, ended - began, *row)
