"""Runs the stand-ins until Ctrl-C or SIGTERM, and prints the service's environment for them."""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sandbox.bootstrap import BootstrapError
from sandbox.child import StartError
from sandbox.environment import Sandbox


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="also write the variables to FILE, and remove it at the end",
    )
    env_file: Path | None = parser.parse_args().env_file
    # Set a handler for SIGINT too: a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        with Sandbox() as sandbox:
            exports = "".join(
                f"export {name}={shlex.quote(value)}\n"
                for name, value in sandbox.environment().items()
            )
            print(exports, end="", flush=True)
            with _written_to(env_file, exports) if env_file else nullcontext():
                return _watch(sandbox)
    except KeyboardInterrupt:
        return 0
    except (BootstrapError, StartError) as failure:
        print(f"The sandbox did not start. {failure}", file=sys.stderr)
        return 1


def _interrupt(number: int, _: object) -> None:
    # Ignore the signal from now on: a second one must not interrupt the stopping of the servers.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _written_to(env_file: Path, exports: str) -> Iterator[None]:
    """Write `exports` to `env_file` at once, readable by its owner alone; remove it at the end."""
    draft = env_file.with_name(f"{env_file.name}.draft")
    draft.touch(mode=0o600)
    draft.write_text(exports)
    draft.replace(env_file)
    try:
        yield
    finally:
        env_file.unlink(missing_ok=True)


def _watch(sandbox: Sandbox) -> int:
    """Return 1 once a server has exited; its name and the end of its log are printed."""
    children = {
        "PostgreSQL": sandbox.postgres.child,
        "MiniStack": sandbox.aws.child,
        "the OSS stand-in": sandbox.oss.child,
    }
    while all(child.is_running() for child in children.values()):
        time.sleep(0.5)
    for name, child in children.items():
        if not child.is_running():
            print(f"{name} exited unexpectedly:\n{child.log_tail()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
