"""What a stand-in needs is fetched once, at pinned hashes, and kept in the repository's folder."""

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
    """Something could not be fetched or installed; the message says what to do."""


def build_once(target: Path, *, requirements: Path, build: Callable[[], None]) -> None:
    """Let `build` fill `target`, unless that was done before from the same requirements.

    Processes that ask at the same time wait for the one that builds. A build that was cut short
    leaves no stamp, and the next one starts afresh.
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
        print(f"building {target.relative_to(REPOSITORY)} (once)", file=sys.stderr)
        shutil.rmtree(target, ignore_errors=True)
        build()
        stamp.write_text(made_from)


def run(*command: str | Path, otherwise: str) -> None:
    """Run `command`; BootstrapError with the end of its output and the advice `otherwise`."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise BootstrapError(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{otherwise}")
