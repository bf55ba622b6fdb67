"""Runs the contract tests of the heavy clients against one stand-in; `make clients` installs them.

python -m tests.sandbox.clients NODE_MODULES GDAL_PYTHON
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.oss import OssServer

HERE = Path(__file__).parent
BUCKET, REGION, KEY_ID, SECRET = "clients", "cn-hangzhou", "key", "secret"


def main() -> int:
    node_modules, gdal_python = sys.argv[1:]
    with (
        TemporaryDirectory() as folder,
        OssServer(keys={KEY_ID: SECRET}, buckets=[BUCKET], region=REGION) as server,
    ):
        environment = {
            **os.environ,
            "NODE_PATH": str(Path(node_modules).resolve()),
            "OSS_BUCKET": BUCKET,
            "OSS_REGION": REGION,
            "OSS_ACCESS_KEY_ID": KEY_ID,
            "OSS_ACCESS_KEY_SECRET": SECRET,
        }
        host = server.endpoint.removeprefix("http://")
        gdal = {
            "OSS_ENDPOINT": host,
            "OSS_SECRET_ACCESS_KEY": SECRET,
            "OSS_HTTPS": "NO",
            "OSS_VIRTUAL_HOSTING": "FALSE",
        }
        commands: dict[str, tuple[list[str | Path], dict[str, str]]] = {
            "ali-oss": (["node", HERE / "ali_oss.cjs"], {"OSS_ENDPOINT": server.endpoint}),
            "GDAL": ([gdal_python, HERE / "gdal.py", f"{folder}/a.tif"], gdal),
        }
        failed = 0
        for name, (command, more) in commands.items():
            done = subprocess.run(command, env={**environment, **more}, check=False)
            sys.stdout.write(f"{name}: {'failed' if done.returncode else 'passed'}\n")
            sys.stdout.flush()
            failed += bool(done.returncode)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
