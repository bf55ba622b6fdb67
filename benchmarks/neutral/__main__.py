"""Runs the neutral stand-in until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal

import uvloop

from benchmarks.neutral.connection import Connection
from benchmarks.neutral.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.neutral", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default) picks a free port")
    parser.add_argument("--delay-ms", type=float, default=0, help="the round-trip time to simulate")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.port, options.delay_ms))


async def _serve(port: int, delay_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = Server(loop, delay_ms=delay_ms)
    listening = await loop.create_server(
        lambda: Connection(server), "127.0.0.1", port, backlog=1024
    )
    host, port = listening.sockets[0].getsockname()
    print(f"neutral listening on http://{host}:{port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main()
