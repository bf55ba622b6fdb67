"""The code of an earlier commit, in a folder of its own."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.bootstrap import REPOSITORY

# The last commit whose queue also held the jobs that had ended.
BEFORE_HISTORY = "869f713114f012ed9fdbe80acf12dec9083cbe9e"


class CommitMissingError(RuntimeError):
    """The clone has no such commit; the message says what to do."""


@contextmanager
def code_of(commit: str) -> Iterator[Path]:
    """A folder with the code of the commit, until the context ends."""
    done = subprocess.run(
        ["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=False
    )
    if done.returncode:
        raise CommitMissingError(
            f"This clone can't give the code of commit {commit}, which the upgrade starts from: "
            f"{done.stderr.decode().strip()}\n"
            "Run `git fetch --unshallow`, or name another commit with --from."
        )
    with TemporaryDirectory(prefix="s3sync-old-code-") as folder:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)
