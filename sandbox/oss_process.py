"""The OSS stand-in as a process of its own, which ends with the process that started it."""

import re
import sys

from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child
from sandbox.server import Server

_LISTENING = re.compile(r"oss stand-in listening on (http://127\.0\.0\.1:\d+)")


class OssProcess(Server):
    """`python -m sandbox.oss` with one bucket, on a loopback port, at `endpoint_url`."""

    region = "cn-hangzhou"
    access_key_id = "sandbox"
    access_key_secret = "sandbox"

    def __init__(self, *, bucket: str) -> None:
        self.bucket = bucket

    def _start(self) -> None:
        self._child = Child(
            [
                *(sys.executable, "-m", "sandbox.oss", "--port", "0"),
                *("--key", f"{self.access_key_id}:{self.access_key_secret}"),
                *("--bucket", self.bucket, "--region", self.region),
            ],
            log=self.directory / "oss.log",
            cwd=REPOSITORY,
            env={"PYTHONUNBUFFERED": "1", "TMPDIR": str(self.directory)},
        )
        self.child.await_ready(
            self._is_listening, advice="Run it on its own: python -m sandbox.oss --help"
        )

    def _is_listening(self) -> bool:
        found = _LISTENING.search(self.child.log.read_text(errors="replace"))
        if found:
            self.endpoint_url = found[1]
        return found is not None
