"""Fetches what the stand-ins need, once and at pinned hashes, into the repository's folder."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"


class BootstrapError(RuntimeError):
    """A download or an installation failed; the message says what to do."""


def build_once(target: Path, *, requirements: Path, build: Callable[[], None]) -> None:
    """Call `build` to fill `target`, unless `target` was built from the same requirements before.

    Of several processes that call this at once, one builds and the others wait. A build that was
    interrupted leaves no stamp, so the next call builds from scratch.
    """
    made_from = hashlib.sha256(
        f"{sysconfig.get_platform()} {sys.version_info[:2]}\n".encode() + requirements.read_bytes()
    ).hexdigest()
    stamp = target / ".made-from"

    def is_built() -> bool:
        return stamp.is_file() and stamp.read_text() == made_from

    if is_built():
        return
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{target.name.lstrip('.')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_built():
            return
        print(f"Building {target.relative_to(REPOSITORY)}, once …", file=sys.stderr)
        shutil.rmtree(target, ignore_errors=True)
        build()
        stamp.write_text(made_from)


def run(*command: str | Path, advice: str) -> None:
    """Run `command`; if it fails, raise BootstrapError with the end of its output and `advice`."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise BootstrapError(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{advice}")
