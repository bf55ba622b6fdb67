#!/usr/bin/env python3
"""Packs the Lambda function into a zip that is the same, byte for byte, wherever it is made.

    deploy/lambda/package.py [FOLDER]

Writes FOLDER/s3sync-events-<hash>.zip (FOLDER is where you are, by default) and prints its path.
A function that has it shows the same hash as its CodeSha256, in base64.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

HANDLER = Path(__file__).resolve().parent / "handler.py"
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # a zip knows none before


def pack():
    """The zip's bytes. Nothing is compressed: versions of zlib differ in what they make."""
    entry = zipfile.ZipInfo(HANDLER.name, FIRST_DATE)
    entry.create_system = 3  # Unix, also where it is made on another system
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
