"""A stand-in that runs as a child process, with a folder of its own, until its context ends."""

import atexit
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.child import Child


class Server(ABC):
    """A context manager: it starts the process, then stops the process and removes its folder.

    If the process that entered it is killed with SIGKILL, the folder, `/tmp/s3sync-<name>-…`,
    remains.
    """

    directory: Path
    _child: Child | None = None

    @property
    def child(self) -> Child:
        """The running process."""
        assert self._child is not None, "not started: enter its context first"
        return self._child

    @abstractmethod
    def _start(self) -> None:
        """Set `_child` and wait until it answers; raise StartError if it doesn't."""

    def __enter__(self) -> Self:
        # Ignore TMPDIR: PostgreSQL's user may not be able to enter that folder.
        prefix = f"s3sync-{type(self).__name__.lower()}-"
        self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        atexit.register(self._remove)  # for a context that is still open when Python exits
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        atexit.unregister(self._remove)
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
