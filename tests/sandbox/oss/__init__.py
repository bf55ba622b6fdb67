"""Tests of the OSS stand-in's contract, with oss2 and raw sockets over real HTTP."""

import oss2

KEY_ID = "contract-key"
SECRET = "contract-secret"
BUCKET = "contract-bucket"
# Readable and writable by anyone, so that raw requests need no signature.
OPEN_BUCKET = "open-bucket"
REGION = "cn-hangzhou"
SPILL_BYTES = 200_000


def make_auth(version: str, secret: str = SECRET) -> object:
    """oss2's signer for version `v1` or `v4`."""
    return oss2.Auth(KEY_ID, secret) if version == "v1" else oss2.AuthV4(KEY_ID, secret)
