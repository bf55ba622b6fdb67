"""Copies an object of 3 GiB with real processes, and measures the time and the peak memory.

python -m benchmarks.large [--gibibytes 3]
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.timing import Figure
from replication.stores.checksums import CRC64
from sandbox.environment import Sandbox
from sandbox.service import Service

GIB = 1024**3
PIECE_BYTES = 64 * 1024**2
LANE_CONCURRENCY = 16
MEMORY_GOAL_MB = 200
TIMEOUT_SECONDS = 900.0


def main() -> None:
    """Print the figures as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gibibytes", type=float, default=3)
    size_bytes = int(parser.parse_args().gibibytes * GIB)
    os.environ["S3SYNC_LANE_CONCURRENCY"] = str(LANE_CONCURRENCY)
    print("| | calls | p50 | p99 | max | goal |\n|---|---:|---:|---:|---:|---|")
    for figure in measure(size_bytes):
        print(figure.row(), flush=True)


def measure(size_bytes: int) -> Iterator[Figure]:
    """Put an object of that size; watch the cluster's processes until its job is settled."""
    with Sandbox(fsync=False) as sandbox, Service(sandbox) as service:
        crc64 = _put(sandbox, size_bytes)
        began = time.monotonic()
        written_before = _written_bytes(service.cluster.pid)
        peaks: dict[int, int] = {}
        written: dict[int, int] = {}
        while (job := _settled(sandbox)) is None:
            if time.monotonic() - began > TIMEOUT_SECONDS:
                raise TimeoutError("the object did not arrive")
            peaks |= _peak_memory(service.cluster.pid)
            written |= _written_bytes(service.cluster.pid)
            time.sleep(0.25)
        seconds = time.monotonic() - began
        state, read_crc64, answered_crc64 = job
        assert (state, read_crc64, answered_crc64) == ("completed", crc64, crc64), job
        megabytes = sum(written.values()) / 1e6 - sum(written_before.values()) / 1e6
        peak = max(peaks.values()) / 1e6
        goal = f"< {MEMORY_GOAL_MB} MB"
        yield Figure("peak memory of a process", [peak], goal, peak < MEMORY_GOAL_MB, unit="MB")
        yield Figure("written to disks by the cluster", [megabytes], unit="MB")
        yield Figure(
            "time", [seconds], unit="s", note=f"{size_bytes / 1e6 / seconds:,.0f} MB/s in all"
        )


def _put(sandbox: Sandbox, size_bytes: int) -> str:
    """Upload the object in pieces; returns its CRC-64."""
    s3: Any = sandbox.aws.client("s3")
    location = {"Bucket": sandbox.source_bucket, "Key": "large"}
    upload = s3.create_multipart_upload(**location)["UploadId"]
    piece, crc64, parts = os.urandom(PIECE_BYTES), 0, []
    for number in range(1, -(-size_bytes // PIECE_BYTES) + 1):
        body = piece[: size_bytes - (number - 1) * PIECE_BYTES]
        answer = s3.upload_part(**location, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        crc64 = CRC64.calc(body, crc64)
    s3.complete_multipart_upload(**location, UploadId=upload, MultipartUpload={"Parts": parts})
    return str(crc64)


def _settled(sandbox: Sandbox) -> tuple[str, str, str] | None:
    with psycopg.connect(sandbox.postgres.url) as database:
        return database.execute(
            "SELECT state, source_crc64, destination_crc64 FROM replication_job "
            "WHERE state IN ('completed', 'failed')"
        ).fetchone()


def _peak_memory(cluster_pid: int) -> dict[int, int]:
    """The peak resident memory of each process of the cluster, in bytes."""
    return _proc_field(cluster_pid, "status", "VmHWM:", unit_bytes=1024)


def _written_bytes(cluster_pid: int) -> dict[int, int]:
    """The bytes that each process of the cluster has written to disks."""
    return _proc_field(cluster_pid, "io", "write_bytes:", unit_bytes=1)


def _proc_field(group: int, file: str, field: str, *, unit_bytes: int) -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) != group:
                continue
            lines = (entry / file).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(field):
                found[int(entry.name)] = int(line.split()[1]) * unit_bytes
    return found


if __name__ == "__main__":
    main()
