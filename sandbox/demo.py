"""`make demo`: the whole service against the stand-ins, checked byte by byte, and left running."""

import argparse
import hashlib
import http.client
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oss2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.bootstrap import REPOSITORY, BootstrapError
from sandbox.child import Child, StartError, free_port
from sandbox.environment import Sandbox

OBJECTS = 200
LARGE_BYTES = 64 * 1024 * 1024
ADMIN = "admin"
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


@dataclass(frozen=True)
class Service:
    """The running service: its address, and how to get in."""

    address: str
    password: str
    api_token: str
    processes: list[Child]

    def status(self) -> dict[str, Any]:
        """What /api/v1/status answers."""
        host = self.address.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(
                "GET", "/api/v1/status", headers={"Authorization": f"Bearer {self.api_token}"}
            )
            status: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return status


def main() -> int:
    """Run the demo; the exit status says whether every object arrived as it was."""
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
            service = stack.enter_context(running_service(sandbox))
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
    except (BootstrapError, StartError, subprocess.CalledProcessError) as failure:
        console.print(f"[red]The demo did not start.[/red] {failure}", highlight=False)
        return 1


@contextmanager
def running_service(sandbox: Sandbox) -> Iterator[Service]:
    """Migrate, make a rule and a login, start gunicorn and the cluster."""
    password, api_token = secrets.token_urlsafe(9), secrets.token_urlsafe(24)
    port = free_port()
    environment = {
        **os.environ,
        **sandbox.environment(),
        "S3SYNC_SECRET_KEY": secrets.token_urlsafe(48),
        "S3SYNC_API_TOKENS": api_token,
        "DJANGO_SUPERUSER_PASSWORD": password,
    }
    manage(environment, "migrate", "--verbosity", "0")
    manage(environment, "createsuperuser", "--noinput", "--username", ADMIN, "--email", "")
    manage(environment, "applyrules", "-", said=json.dumps(rules_of(sandbox)))
    with tempfile.TemporaryDirectory(prefix="s3sync-demo-") as logs, ExitStack() as stack:

        def start(name: str, *command: str | Path) -> Child:
            child = Child(command, log=Path(logs) / f"{name}.log", env=environment, cwd=REPOSITORY)
            # A stop waits for the loops of the cluster, at most 25 s; nobody waits for a demo.
            stack.callback(child.stop, grace_seconds=1)
            return child

        bin_folder = Path(sys.executable).parent
        web = start(
            "web",
            bin_folder / "gunicorn",
            "s3sync.wsgi",
            *("--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket"),
            *("--worker-tmp-dir", "/dev/shm" if Path("/dev/shm").is_dir() else logs),
        )
        cluster = start("cluster", sys.executable, REPOSITORY / "manage.py", "qcluster")
        service = Service(f"http://127.0.0.1:{port}", password, api_token, [web, cluster])
        web.await_ready(lambda: is_ready(port), advice="See the log above.")
        yield service


def manage(environment: dict[str, str], *arguments: str, said: str | None = None) -> None:
    """Run a management command to its end; its output is shown if it fails."""
    command = [sys.executable, REPOSITORY / "manage.py", *arguments]
    done = subprocess.run(
        command, env=environment, input=said, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise StartError(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def rules_of(sandbox: Sandbox) -> dict[str, Any]:
    """One rule, from the bucket of the S3 stand-in to that of the OSS stand-in."""
    return {
        "sources": [
            {
                "name": "photos-s3",
                "bucket": sandbox.source_bucket,
                "region": sandbox.aws.region,
                "endpoint_url": sandbox.aws.endpoint_url,
                "domains": ["photos.example.com"],
            }
        ],
        "destinations": [
            {
                "name": "photos-oss",
                "bucket": sandbox.destination_bucket,
                "endpoint": sandbox.oss.endpoint_url,
                "region": sandbox.oss.region,
            }
        ],
        "rules": [
            {
                "name": "photos",
                "source": "photos-s3",
                "destination": "photos-oss",
                "delete_policy": "mirror",
            }
        ],
        "queues": [
            {"name": "photos-events", "url": sandbox.queue_url, "region": sandbox.aws.region}
        ],
    }


def is_ready(port: int) -> bool:
    """Whether the web server answers, and the database behind it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def make_objects() -> dict[str, bytes]:
    """The objects to put: odd names, empty ones, a large one, and plain ones of mixed sizes."""
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
    """Put the objects into S3 while a bar shows how many OSS holds; False if some never came."""
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
        held_bar = progress.add_task("held by OSS", total=len(objects))

        def put(item: tuple[str, bytes]) -> None:
            s3.put_object(Bucket=sandbox.source_bucket, Key=item[0], Body=item[1])
            progress.advance(put_bar)

        puts = [pool.submit(put, item) for item in objects.items()]
        deadline = time.monotonic() + DEADLINE_SECONDS
        held = 0
        while held < len(objects) and time.monotonic() < deadline:
            for process in service.processes:
                if not process.is_running():
                    raise StartError(f"{process.name} ended by itself:\n{process.log_tail()}")
            held = sum(1 for _ in oss2.ObjectIterator(bucket, max_keys=1000))
            progress.update(held_bar, completed=held)
            time.sleep(0.1)
        for done in puts:
            done.result()
    return held == len(objects)


def compare(console: Console, sandbox: Sandbox, objects: dict[str, bytes]) -> list[str]:
    """Read every replica back from OSS; what is missing, differs, or should not be there."""
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
                f"{key!r}: {len(content)} bytes {ours}, {len(replica)} bytes {theirs}"
            )
    extra = {found.key for found in oss2.ObjectIterator(bucket)} - objects.keys()
    console.print("Compared every byte by reading back from OSS.")
    return differences + [f"{key!r} should not be there" for key in sorted(extra)]


def replica_bucket(sandbox: Sandbox) -> oss2.Bucket:
    """The destination bucket, by OSS's own SDK."""
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
    """What came of it, with the lag that the service itself reports."""
    overall = service.status()["overall"]
    table = Table(title="S3 → OSS", show_header=False, title_justify="left")
    table.add_row("objects put into S3", f"{len(objects)}")
    table.add_row("bytes", f"{sum(map(len, objects.values())):,}")
    table.add_row("all held by OSS", "yes" if arrived else "[red]no[/red]")
    table.add_row("differences", f"[red]{len(differences)}[/red]" if differences else "none")
    table.add_row("failed jobs", str(overall["failed"]))
    for name in ("p50", "p99"):
        table.add_row(
            f"lag {name}, event to settled job", f"{overall[f'lag_{name}_seconds']:.3f} s"
        )
    return table


def leave_running(console: Console, service: Service) -> None:
    """Say where the admin is, and wait for Ctrl-C."""
    console.print(
        f"\nThe admin is at [bold]{service.address}/[/bold], login [bold]{ADMIN}[/bold], "
        f"password [bold]{service.password}[/bold]\nStop it with Ctrl-C.",
        highlight=False,
    )
    while all(process.is_running() for process in service.processes):
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
