"""Replicates 200 objects between the stand-ins, compares every byte, keeps the admin running."""

import argparse
import hashlib
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import oss2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.bootstrap import BootstrapError
from sandbox.child import StartError
from sandbox.environment import Sandbox
from sandbox.service import ADMIN, Service

OBJECTS = 200
LARGE_BYTES = 64 * 1024 * 1024
DEADLINE_SECONDS = 150

ODD_KEYS = [
    "red flower+1.jpg",
    "100% 纯中文/图片 (最终版).png",
    "a//b",
    "a/./b/../c",
    "emoji-😀.txt",
    "quote'\"<&>.html",
    "folder/",
    "%2F-is-not-a-slash",
    "question?and#hash",
    "x" * 1000,
]
EMPTY_KEYS = ["empty", "also/empty.txt"]
LARGE_KEY = "large/64MB.bin"


def main() -> int:
    """Run the demo; the exit status is 0 if every object arrived unchanged."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the comparison")
    once: bool = parser.parse_args().once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console()
    try:
        with ExitStack() as stack:
            console.print("Starting PostgreSQL, S3, SQS and OSS stand-ins …")
            sandbox = stack.enter_context(Sandbox())
            console.print("Starting the service: web server and cluster …")
            service = stack.enter_context(Service(sandbox))
            objects = make_objects()
            arrived = put_and_watch(console, sandbox, service, objects)
            differences = compare(console, sandbox, objects)
            console.print(summary(service, objects, arrived=arrived, differences=differences))
            for difference in differences[:20]:
                console.print(f"[red]differs:[/red] {difference}", highlight=False)
            if not once:
                leave_running(console, service)
            return 1 if differences else 0
    except KeyboardInterrupt:
        return 0
    except (BootstrapError, StartError) as failure:
        console.print("The demo failed.", failure, style="red", markup=False, highlight=False)
        return 1


def make_objects() -> dict[str, bytes]:
    """The objects to put: odd names, empty objects, a large object, and photos of mixed sizes."""
    sizes = random.Random(7)
    objects = {key: f"content of {key}".encode() for key in ODD_KEYS}
    objects |= dict.fromkeys(EMPTY_KEYS, b"")
    objects[LARGE_KEY] = os.urandom(1024) * (LARGE_BYTES // 1024)
    while len(objects) < OBJECTS:
        objects[f"photos/{len(objects):03}.jpg"] = os.urandom(sizes.randrange(1, 300_000))
    return objects


def put_and_watch(
    console: Console, sandbox: Sandbox, service: Service, objects: dict[str, bytes]
) -> bool:
    """Put the objects into S3 and show them arrive in OSS; False if some do not arrive in time."""
    s3 = sandbox.aws.client("s3")
    bucket = replica_bucket(sandbox)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(8) as pool:
        put_bar = progress.add_task("put into S3", total=len(objects))
        arrived_bar = progress.add_task("arrived in OSS", total=len(objects))

        def put(item: tuple[str, bytes]) -> None:
            s3.put_object(Bucket=sandbox.source_bucket, Key=item[0], Body=item[1])
            progress.advance(put_bar)

        puts = [pool.submit(put, item) for item in objects.items()]
        deadline = time.monotonic() + DEADLINE_SECONDS
        arrived = 0
        while arrived < len(objects) and time.monotonic() < deadline:
            service.check()
            arrived = sum(1 for _ in oss2.ObjectIterator(bucket, max_keys=1000))
            progress.update(arrived_bar, completed=arrived)
            time.sleep(0.1)
        for done in puts:
            done.result()
    return arrived == len(objects)


def compare(console: Console, sandbox: Sandbox, objects: dict[str, bytes]) -> list[str]:
    """Read every replica back from OSS; list the objects that are missing, different or extra."""
    bucket = replica_bucket(sandbox)
    differences = []
    for key, content in objects.items():
        try:
            replica = bucket.get_object(key).read()
        except oss2.exceptions.NoSuchKey:
            differences.append(f"{key!r} is missing")
            continue
        if replica != content:
            ours, theirs = (hashlib.sha256(data).hexdigest()[:12] for data in (content, replica))
            differences.append(
                f"{key!r} has {len(content)} bytes in S3 (SHA-256 {ours}…), "
                f"{len(replica)} bytes in OSS (SHA-256 {theirs}…)"
            )
    extra = {found.key for found in oss2.ObjectIterator(bucket)} - objects.keys()
    console.print("Read every object back from OSS and compared every byte.")
    return differences + [f"{key!r} is in OSS but not in S3" for key in sorted(extra)]


def replica_bucket(sandbox: Sandbox) -> oss2.Bucket:
    """The destination bucket, opened with OSS's own SDK."""
    auth = oss2.AuthV4(sandbox.oss.access_key_id, sandbox.oss.access_key_secret)
    return oss2.Bucket(
        auth,
        sandbox.oss.endpoint_url,
        sandbox.destination_bucket,
        region=sandbox.oss.region,
        enable_crc=False,
    )


def summary(
    service: Service, objects: dict[str, bytes], *, arrived: bool, differences: list[str]
) -> Table:
    """The results, with the lag that the service itself reports."""
    jobs = settled_jobs(service)
    table = Table(title="S3 → OSS", show_header=False, title_justify="left")
    table.add_row("objects put into S3", f"{len(objects)}")
    table.add_row("bytes", f"{sum(map(len, objects.values())):,}")
    table.add_row("all arrived in OSS", "yes" if arrived else "[red]no[/red]")
    table.add_row("differences", f"[red]{len(differences)}[/red]" if differences else "none")
    table.add_row("failed jobs", str(jobs["failed"]))
    for name in ("p50", "p99"):
        lag = jobs[f"lag_{name}_seconds"]
        table.add_row(f"lag {name}, from event to settled job", f"{lag:.3f} s")
    return table


def settled_jobs(service: Service) -> dict[str, Any]:
    """The jobs' status once none is unfinished, or after 10 s.

    An object is in OSS shortly before its job is settled.
    """
    deadline = time.monotonic() + 10
    while True:
        jobs: dict[str, Any] = service.status()["jobs"]
        if not jobs["pending"] + jobs["running"] or time.monotonic() > deadline:
            return jobs
        time.sleep(0.1)


def leave_running(console: Console, service: Service) -> None:
    """Print the admin's address and login, and wait for Ctrl-C."""
    console.print(
        f"\nThe admin is at [bold]{service.address}/[/bold]; user name [bold]{ADMIN}[/bold], "
        f"password [bold]{service.password}[/bold].\nPress Ctrl-C to stop the demo.",
        highlight=False,
    )
    while True:
        service.check()
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
