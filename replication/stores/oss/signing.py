"""Signs requests to OSS: signature V4, in the Authorization header, with the host in it.

Without the host, whoever captures a request could send it to another endpoint. The body is not
signed: its CRC-64 is compared after the request.

https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
"""

import hmac
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote

from replication.stores.signing_keys import Credentials, signing_key

_ALGORITHM = "OSS4-HMAC-SHA256"
_PAYLOAD = "UNSIGNED-PAYLOAD"
# These are signed whenever they are sent, as is each header that begins with `x-oss-`.
_ALWAYS_SIGNED = {"content-type", "content-md5"}


def sign(
    method: str,
    bucket: str,
    key: str,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    at: datetime,
    additional: Collection[str] = ("host",),
) -> dict[str, str]:
    """Return the headers of a signed request.

    Args:
        key: not quoted. It is signed with its slashes, however the URL has them.
        parameters: of the URL's query, not quoted.
        headers: by name in lower case; values have one character for each byte (Latin-1).
        at: the time in UTC. OSS refuses a request whose time differs from its own by 15 minutes.
        additional: which of the headers to sign beside those that OSS demands.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "x-oss-content-sha256": _PAYLOAD, "x-oss-date": stamp}
    if credentials.token:
        sent["x-oss-security-token"] = credentials.token
    lines = "".join(
        [
            f"{name}:{sent[name]}\n"
            for name in sorted(sent)
            if name.startswith("x-oss-") or name in _ALWAYS_SIGNED or name in additional
        ]
    )
    path = quote(f"/{bucket}/{key}")
    query = canonical_query(parameters)
    more = ";".join(sorted(additional))
    request = f"{method}\n{path}\n{query}\n{lines}\n{more}\n{_PAYLOAD}"
    scope = f"{stamp[:8]}/{region}/oss/aliyun_v4_request"
    digest = sha256(request.encode("latin-1")).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    derived = signing_key(f"aliyun_v4{credentials.secret}", scope)
    signature = hmac.digest(derived, text.encode(), "sha256").hex()
    listed = f"AdditionalHeaders={more}, " if more else ""  # OSS refuses an empty list
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.id}/{scope}, {listed}Signature={signature}"
    )
    return sent


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Return the query of a URL, in the order in which it is signed."""
    quoted = [(quote(name, safe=""), quote(value, safe="")) for name, value in parameters.items()]
    return "&".join([f"{name}={value}" if value else name for name, value in sorted(quoted)])
