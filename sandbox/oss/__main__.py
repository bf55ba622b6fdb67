"""Runs the OSS stand-in until SIGTERM or Ctrl-C."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from sandbox.oss.errors import OssError
from sandbox.oss.requestlog import DEFAULT_SIZE
from sandbox.oss.server import OssServer


def main() -> int:
    """Return the exit status."""
    options = _parser().parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = OssServer(
            keys=dict(options.key),
            buckets=options.bucket,
            region=options.region,
            host=options.host,
            port=options.port,
            data_dir=options.data,
            v4_only=options.v4_only,
            is_lenient=options.lenient,
            log_size=options.log_size,
        )
        with server:
            print(f"oss stand-in listening on {server.endpoint}", flush=True)
            stop.wait()
    except OssError as error:
        print(f"--bucket: {error.message} {error.fields}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.oss", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default) picks a free port")
    parser.add_argument("--key", type=_key, action="append", required=True, metavar="ID:SECRET")
    parser.add_argument("--bucket", action="append", default=[], metavar="NAME")
    parser.add_argument("--region", default="cn-hangzhou")
    parser.add_argument("--data", type=Path, help="folder for large bodies (default: temporary)")
    parser.add_argument("--v4-only", action="store_true", help="refuse V1 signatures")
    parser.add_argument(
        "--lenient", action="store_true", help="take user metadata and tags beyond ASCII"
    )
    parser.add_argument(
        "--log-size", type=int, default=DEFAULT_SIZE, help="how many requests the log keeps"
    )
    return parser


def _key(text: str) -> tuple[str, str]:
    key_id, colon, secret = text.partition(":")
    if not (key_id and colon and secret):
        raise argparse.ArgumentTypeError("must be ID:SECRET")
    return key_id, secret


if __name__ == "__main__":
    raise SystemExit(main())
