"""A sitting: one run of the benchmark's rows on one machine, with what the rows share."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import peers
from benchmarks.ours import Installation, prepared
from benchmarks.peers import Peer
from benchmarks.stand_ins import DESTINATION_BUCKET, SOURCE_BUCKET, Keys, Neutral


class Sitting:
    """Source, destination and queue, each a process, until the context ends; and the peers.

    `is_quick` asks for fewer rounds with fewer objects.
    """

    source: Neutral
    destination: Neutral
    queue: Neutral
    folder: Path

    def __init__(self, *, is_quick: bool) -> None:
        self.is_quick = is_quick

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.source = started.enter_context(Neutral())
            self.destination = started.enter_context(Neutral())
            self.queue = started.enter_context(Neutral())
            self._prepared = started.enter_context(
                prepared(self.source, self.destination, self.queue)
            )
            self._started = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._started.close()

    @property
    def juicefs(self) -> Peer:
        return self.juicefs_with(peers.IN_FLIGHT)

    @property
    def rclone(self) -> Peer:
        return self.rclone_with(peers.IN_FLIGHT)

    def juicefs_with(self, in_flight: int | None) -> Peer:
        """juicefs with so many threads; None leaves it to juicefs."""
        return peers.juicefs(self.source, self.destination, folder=self.folder, in_flight=in_flight)

    def rclone_with(self, in_flight: int | None) -> Peer:
        """rclone with so many transfers; None leaves it to rclone."""
        return peers.rclone(self.source, self.destination, folder=self.folder, in_flight=in_flight)

    def installation(self) -> Installation:
        """The service between the stand-ins, with a new database."""
        return Installation(self._prepared)

    def begin(self, *keys: Keys, distance_ms: float = 0) -> None:
        """Prepare for a row: fill the source with these keys, empty the queue and the destination.

        `distance_ms` is the round trip to each stand-in.
        """
        for stand_in in (self.source, self.destination, self.queue):
            stand_in.delay(distance_ms)
        self.source.empty(SOURCE_BUCKET)
        for some in keys:
            self.source.fill(some)
        self.queue.purge()
        self.empty_destination()

    def empty_destination(self) -> None:
        self.destination.empty(DESTINATION_BUCKET)

    def require_equal(self) -> None:
        """Raise RuntimeError unless both buckets have the same keys with the same contents."""
        wanted = self.source.digest(SOURCE_BUCKET)
        found = self.destination.digest(DESTINATION_BUCKET)
        if wanted != found:
            raise RuntimeError(f"the source has {wanted}, but the destination has {found}")

    def log(self, name: str) -> Path:
        """The path of a peer's log."""
        return self.folder / f"{name}.log"
