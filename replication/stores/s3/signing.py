"""Signs GETs and HEADs to S3: AWS Signature Version 4, in the Authorization header.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

from replication.stores.signing_keys import Credentials, signing_key

_ALGORITHM = "AWS4-HMAC-SHA256"
_HASH_OF_NO_BODY = sha256(b"").hexdigest()


def sign(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    at: datetime,
) -> dict[str, str]:
    """Return the headers of a signed request without a body.

    Args:
        path: as it is sent, from `object_path`. S3 resolves neither `//` nor `..`.
        query: as it is sent, from `canonical_query`.
        headers: all that are to be signed, by name in lower case, with the host. Values have one
            character for each byte (Latin-1).
        at: the time in UTC. S3 refuses a request whose time differs from its own by 15 minutes.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-content-sha256": _HASH_OF_NO_BODY, "x-amz-date": stamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    # S3 counts runs of spaces within a value as one.
    lines = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
    signed_names = ";".join(names)
    request = f"{method}\n{path}\n{query}\n{lines}\n{signed_names}\n{_HASH_OF_NO_BODY}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = sha256(request.encode("latin-1")).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.digest(
        signing_key(f"AWS4{credentials.secret}", scope), text.encode(), "sha256"
    ).hex()
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.id}/{scope}, SignedHeaders={signed_names}, "
        f"Signature={signature}"
    )
    return signed


def object_path(key: str) -> str:
    """Quote a key for the path of a URL, which is signed as it is sent."""
    return quote(key, safe="/")


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Return the query of a URL, in the order in which it is signed."""
    quoted = [(quote(name, safe=""), quote(value, safe="")) for name, value in parameters.items()]
    return "&".join([f"{name}={value}" for name, value in sorted(quoted)])
