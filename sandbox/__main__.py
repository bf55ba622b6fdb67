"""Runs the stand-ins until Ctrl-C or SIGTERM, and prints how to point the service at them."""

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
        "--env-file", type=Path, metavar="FILE", help="keep the variables there, too, while running"
    )
    env_file: Path | None = parser.parse_args().env_file
    # SIGINT, too: a shell starts background jobs with Ctrl-C ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        with Sandbox() as sandbox:
            exports = "".join(
                f"export {name}={shlex.quote(value)}\n"
                for name, value in sandbox.environment().items()
            )
            print(exports, end="", flush=True)
            with _published(exports, env_file) if env_file else nullcontext():
                return _watch(sandbox)
    except KeyboardInterrupt:
        return 0
    except (BootstrapError, StartError) as failure:
        print(f"The sandbox did not start. {failure}", file=sys.stderr)
        return 1


def _leave(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: let the servers end in peace
    raise KeyboardInterrupt


@contextmanager
def _published(exports: str, env_file: Path) -> Iterator[None]:
    """Keep `env_file` while the servers run: complete from the start, readable by us alone."""
    draft = env_file.with_name(f"{env_file.name}.draft")
    draft.touch(mode=0o600)
    draft.write_text(exports)
    draft.replace(env_file)
    try:
        yield
    finally:
        env_file.unlink(missing_ok=True)


def _watch(sandbox: Sandbox) -> int:
    """Wait for the first server that ends by itself."""
    children = {
        "PostgreSQL": sandbox.postgres.child,
        "MiniStack": sandbox.aws.child,
        "the OSS stand-in": sandbox.oss.child,
    }
    while all(child.is_running() for child in children.values()):
        time.sleep(0.5)
    for name, child in children.items():
        if not child.is_running():
            print(f"{name} ended by itself:\n{child.log_tail()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
