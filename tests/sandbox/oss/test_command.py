"""The command `python -m sandbox.oss`."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import oss2
import pytest

from tests.sandbox.oss import make_auth

REPOSITORY = Path(__file__).parents[3]
STOP_SECONDS = 90
Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.oss", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)


def test_it_serves_until_sigterm(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = run(
        *("--port", "0", "--key", "contract-key:contract-secret", "--key", "other:secret"),
        *("--bucket", "first", "--bucket", "second", "--region", "cn-hangzhou"),
        *("--data", str(data)),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("oss stand-in listening on http://127.0.0.1:")
    endpoint = line.split()[-1]
    for name in ("first", "second"):
        bucket = oss2.Bucket(
            make_auth("v4"), endpoint, name, region="cn-hangzhou", enable_crc=False
        )
        bucket.put_object("key", b"x" * 3_000_000)
    assert list(data.rglob("blob-*"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0
    assert list(data.iterdir()) == [], "nothing is left in the data folder"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--key", "no-secret"], 2, "ID:SECRET"),
        (["--key", "a:b", "--bucket", "Bad_Name"], 2, "Bad_Name"),
        ([], 2, "--key"),
    ],
)
def test_a_wrong_argument_is_explained(
    run: Run, arguments: list[str], status: int, message: str
) -> None:
    process = run(*arguments)
    _, printed = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == status
    assert message in printed
    assert "Traceback" not in printed


def test_a_taken_port_is_explained(run: Run) -> None:
    first = run("--key", "a:b")
    assert first.stdout is not None
    port = first.stdout.readline().rpartition(":")[2].strip()
    second = run("--key", "a:b", "--port", port)
    _, printed = second.communicate(timeout=STOP_SECONDS)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in printed
