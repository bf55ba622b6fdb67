"""Apache OpenDAL, whose OSS client is its own: in Rust, with V1 signatures and virtual hosts.

It runs in a process of its own, which reaches the stand-in as its proxy: so it uses the names of
OSS, and needs no DNS.
"""

import os
import subprocess
import sys

import pytest

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, KEY_ID, REGION, SECRET

START = f"""
import opendal
oss = opendal.Operator(
    "oss", bucket={BUCKET!r}, endpoint="http://oss-{REGION}.aliyuncs.com", region={REGION!r},
    access_key_id={KEY_ID!r}, access_key_secret={SECRET!r}, root="/",
)
"""


def run(server: OssServer, script: str) -> None:
    """Run a script with the client `oss`."""
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        env={**os.environ, "HTTP_PROXY": server.endpoint, "http_proxy": server.endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def operations(server: OssServer) -> set[str]:
    assert {entry.bucket for entry in server.requests()} == {BUCKET}
    return {entry.operation for entry in server.requests()}


def test_an_object_is_put_described_read_listed_copied_and_deleted(server: OssServer) -> None:
    run(
        server,
        """
key = "a b/日本+%.txt"
oss.write(key, b"hello", content_type="text/x-odd", user_metadata={"place": "here"})
assert oss.read(key) == b"hello"
assert oss.read(key, offset=1, size=3) == b"ell"
info = oss.stat(key)
assert (info.content_length, info.content_type) == (5, "text/x-odd")
assert info.etag == '"5D41402ABC4B2A76B9719D911017C592"'
assert [each.path for each in oss.list("a b/")] == [key]
oss.copy(key, "copy")
assert oss.read("copy") == b"hello"
oss.delete(key)
assert not oss.exists(key)
oss.remove_all("/")
assert list(oss.list("/")) == []
""",
    )
    assert operations(server) >= {"ListObjectsV2", "CopyObject", "DeleteObject", "HeadObject"}


def test_an_object_is_put_in_parts(server: OssServer) -> None:
    run(
        server,
        """
with oss.open("large", "wb", chunk=200 * 1024) as file:
    for number in range(5):
        file.write(bytes([number]) * 200_000)
assert oss.read("large") == b"".join(bytes([number]) * 200_000 for number in range(5))
""",
    )
    assert operations(server) >= {"UploadPart", "CompleteMultipartUpload"}
    assert not server.store.bucket(BUCKET).uploads


@pytest.mark.parametrize("key", ["absent", "a b/absent"])
def test_a_missing_object_is_told(server: OssServer, key: str) -> None:
    run(
        server,
        f"""
for attempt in (oss.read, oss.stat):
    try:
        attempt({key!r})
    except opendal.exceptions.NotFound:
        continue
    raise AssertionError(attempt)
""",
    )
