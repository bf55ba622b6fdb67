#!/usr/bin/env python3
"""Packs the Lambda function into a zip that is byte for byte the same on every machine.

    deploy/lambda/package.py [FOLDER]

Writes FOLDER/s3sync-events-<hash>.zip (FOLDER is the current folder by default) and prints its
path. The hash is the zip's SHA-256; Lambda shows it in base64 as the function's CodeSha256.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

HANDLER = Path(__file__).resolve().parent / "handler.py"
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can have


def pack():
    """The zip's bytes. The zip is not compressed, because versions of zlib compress differently."""
    entry = zipfile.ZipInfo(HANDLER.name, FIRST_DATE)
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = 0o100644 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, HANDLER.read_bytes().replace(b"\r\n", b"\n"))
    return packed.getvalue()


def main(folder="."):
    content = pack()
    path = Path(folder) / f"s3sync-events-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    path.write_bytes(content)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
