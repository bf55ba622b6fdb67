"""A real OpenID Connect provider: oidc-provider from npm, certified by the OpenID Foundation."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.child import Child, on_a_free_port
from sandbox.server import Server
from tests.support.paths import REPOSITORY

CLIENT_ID = "s3sync"
CLIENT_SECRET = "a secret of a test/with: signs"

_HERE = Path(__file__).parent
_FILES = ("package.json", "package-lock.json", "provider.js")
_INSTALL = "Node.js is not installed; on Debian, run: apt install nodejs npm"


def installed() -> Path:
    """The folder with the provider and its packages, which npm fetches once for each lock file.

    Without Node.js the test is skipped, but fails where CI is set.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_INSTALL)
    version = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _FILES)).hexdigest()
    folder = REPOSITORY / ".cache" / f"identity-provider-{version[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of this run wait
        if not (folder / "is-installed").exists():
            for name in _FILES:
                shutil.copy(_HERE / name, folder)
            command = ["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=folder, check=True, timeout=150)
            (folder / "is-installed").touch()
    return folder


class IdentityProvider(Server):
    """Lets anybody in, with the claims that `people` has of them."""

    def __init__(self, redirect_uri: str, *, groups_in_user_info: bool = False) -> None:
        self._redirect_uri = redirect_uri
        self._groups_in_user_info = groups_in_user_info
        self.issuer = ""

    def claim(self, **people: dict[str, Any]) -> None:
        """Set what the provider says of people, by their subjects."""
        (self.directory / "claims.json").write_text(json.dumps(people))

    def _start(self) -> None:
        self.claim()
        on_a_free_port(self._start_on)

    def _start_on(self, port: int) -> None:
        folder = installed()
        self.issuer = f"http://127.0.0.1:{port}"
        self._child = Child(
            [
                *(shutil.which("node") or "node", folder / "provider.js", str(port)),
                *(self.directory / "claims.json", CLIENT_ID, CLIENT_SECRET, self._redirect_uri),
            ],
            log=self.directory / "log",
            env={
                "PATH": os.environ["PATH"],
                "GROUPS_IN_USERINFO": "1" if self._groups_in_user_info else "",
            },
            cwd=folder,
        )
        self._child.await_ready(
            lambda: b"listening" in (self.directory / "log").read_bytes(), advice=_INSTALL
        )
