"""Finds the sender of a request: OSS's checks of a signature, its time and its scope."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.oss import dates, signatures
from sandbox.oss.dates import iso_time
from sandbox.oss.errors import OssError
from sandbox.oss.http import RequestHead
from sandbox.oss.signatures import UNSIGNED_PAYLOAD, V4, exact_bytes

SKEW_SECONDS = 900
V4_LONGEST_SECONDS = 7 * 24 * 3600

# The name of each part of a scope in an error, and its EC if OSS's is known.
_SCOPE_FAULTS = (
    ("date", None),
    ("region", "0002-00000226"),
    ("product", "0002-00000227"),
    ("request type", None),
)
_V4_FIELD = re.compile(r"\s*(Credential|AdditionalHeaders|Signature)\s*=\s*([^,]*?)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A secret, and for a temporary key the token that each request must carry."""

    secret: str
    security_token: str | None = None
    ends_at: float | None = None  # in epoch seconds; None for a key that does not end


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the signatures of requests to one server; `now` is in epoch seconds."""

    keys: Mapping[str, AccessKey]
    region: str
    v4_only: bool

    def authenticate(self, head: RequestHead, *, bucket: str, key: str, now: float) -> str | None:
        """The id of the access key that signed the request, or None for an anonymous request.

        Raises OssError if the signature, its time or its scope is wrong.
        """
        authorization = head.headers.get("authorization")
        in_url = not head.query.keys().isdisjoint(("x-oss-signature", "Signature"))
        if authorization is not None and in_url:
            raise OssError(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-OSS-Signature query parameter or the "
                "Authorization header should be specified.",
            )
        if authorization is not None:
            scheme, _, rest = authorization.partition(" ")
            if scheme == V4:
                return self._v4_header(head, rest, bucket=bucket, key=key, now=now)
            if scheme == "OSS":
                return self._v1_header(head, rest, bucket=bucket, key=key, now=now)
            raise OssError(
                "InvalidArgument",
                "Unsupported Authorization Type",
                ec="0002-00000002",
                ArgumentName="Authorization",
                ArgumentValue=authorization,
            )
        if "x-oss-signature-version" in head.query or "x-oss-signature" in head.query:
            return self._v4_url(head, bucket=bucket, key=key, now=now)
        if "OSSAccessKeyId" in head.query or "Signature" in head.query:
            return self._v1_url(head, bucket=bucket, key=key, now=now)
        return None

    def _access_key(self, key_id: str, token: str | None, now: float) -> AccessKey:
        access_key = self.keys.get(key_id)
        if access_key is None:
            raise OssError("InvalidAccessKeyId", OSSAccessKeyId=key_id)
        if access_key.security_token != token:
            raise OssError("InvalidSecurityToken", OSSAccessKeyId=key_id)
        if access_key.ends_at is not None and now >= access_key.ends_at:
            raise OssError("SecurityTokenExpired", OSSAccessKeyId=key_id)
        return access_key

    def _refuse_v1(self) -> None:
        if self.v4_only:
            raise OssError(
                "AccessDenied",
                "The V1 signature is not supported for this account. Use the V4 signature.",
                ec="0002-00000080",
            )

    def _v1_header(self, head: RequestHead, rest: str, *, bucket: str, key: str, now: float) -> str:
        self._refuse_v1()
        key_id, colon, signature = rest.strip().rpartition(":")
        if not colon:
            raise OssError("InvalidArgument", "The Authorization header is invalid.")
        access_key = self._access_key(key_id, head.headers.get("x-oss-security-token"), now)
        date = head.headers.get("x-oss-date") or head.headers.get("date", "")
        _check_skew(_header_time(date), now)
        _check_v1(head, date, signature, key_id, access_key.secret, bucket=bucket, key=key)
        return key_id

    def _v1_url(self, head: RequestHead, *, bucket: str, key: str, now: float) -> str:
        self._refuse_v1()
        query = head.query
        missing = [n for n in ("OSSAccessKeyId", "Expires", "Signature") if not query.get(n)]
        if missing:
            raise OssError(
                "AccessDenied",
                "Query-string authentication requires the Signature, Expires and "
                "OSSAccessKeyId parameters",
            )
        key_id = query["OSSAccessKeyId"]
        token = query.get("security-token", head.headers.get("x-oss-security-token"))
        access_key = self._access_key(key_id, token, now)
        expires = query["Expires"]
        if not (expires.isascii() and expires.isdigit()):
            raise OssError(
                "AccessDenied", "Invalid date (should be seconds since epoch)", ec="0002-00000070"
            )
        if now > int(expires):
            raise _expired(iso_time(int(expires)), now)
        signature = query["Signature"]
        _check_v1(head, expires, signature, key_id, access_key.secret, bucket=bucket, key=key)
        return key_id

    def _v4_header(self, head: RequestHead, rest: str, *, bucket: str, key: str, now: float) -> str:
        fields = dict(_V4_FIELD.findall(rest))
        if "Credential" not in fields or "Signature" not in fields:
            raise OssError("InvalidArgument", "The Authorization header is invalid.")
        payload = head.headers.get("x-oss-content-sha256", "")
        if payload != UNSIGNED_PAYLOAD:
            raise OssError(
                "InvalidArgument",
                "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.",
                ArgumentName="x-oss-content-sha256",
                ArgumentValue=payload,
            )
        date = head.headers.get("x-oss-date") or head.headers.get("date", "")
        signed_at = _header_time(date)
        stamp = dates.stamp(signed_at)
        key_id, scope = self._scope(fields["Credential"], stamp)
        token = head.headers.get("x-oss-security-token")
        access_key = self._access_key(key_id, token, now)
        _check_skew(signed_at, now)
        additional = fields.get("AdditionalHeaders", "")
        canonical = signatures.canonical_request(head, additional, bucket=bucket, key=key)
        _check_v4(
            canonical,
            stamp,
            scope,
            signature=fields["Signature"],
            key_id=key_id,
            secret=access_key.secret,
        )
        return key_id

    def _v4_url(self, head: RequestHead, *, bucket: str, key: str, now: float) -> str:
        query = head.query
        if query.get("x-oss-signature-version") != V4:
            raise OssError("InvalidArgument", "Invalid signature version.", ec="0002-00000066")
        for name in ("x-oss-credential", "x-oss-date", "x-oss-expires", "x-oss-signature"):
            if not query.get(name):
                raise OssError(
                    "AccessDenied",
                    f"Query-string authentication requires the {name} parameter.",
                    ec="0002-00000219",
                )
        stamp = query["x-oss-date"]
        signed_at = _stamp_time(stamp)
        key_id, scope = self._scope(query["x-oss-credential"], stamp)
        token = query.get("x-oss-security-token", head.headers.get("x-oss-security-token"))
        access_key = self._access_key(key_id, token, now)
        expires = query["x-oss-expires"]
        if not expires.isdigit() or not 1 <= int(expires) <= V4_LONGEST_SECONDS:
            raise OssError(
                "InvalidArgument",
                "x-oss-expires must be between 1 and 604800 seconds.",
                ec="0002-00000070",
                ArgumentName="x-oss-expires",
                ArgumentValue=expires,
            )
        if signed_at > now + SKEW_SECONDS:
            raise _skewed(signed_at, now)
        if now > signed_at + int(expires):
            raise _expired(iso_time(signed_at + int(expires)), now)
        additional = query.get("x-oss-additional-headers", "")
        canonical = signatures.canonical_request(head, additional, bucket=bucket, key=key)
        _check_v4(
            canonical,
            stamp,
            scope,
            signature=query["x-oss-signature"],
            key_id=key_id,
            secret=access_key.secret,
        )
        return key_id

    def _scope(self, credential: str, stamp: str) -> tuple[str, str]:
        """The access key id and the scope of a credential; raises OssError if a part is wrong."""
        key_id, _, scope = credential.partition("/")
        parts = scope.split("/")
        expected = (stamp[:8], self.region, "oss", "aliyun_v4_request")
        for part, wanted, (cause, ec) in zip(parts, expected, _SCOPE_FAULTS, strict=False):
            if part != wanted:
                raise OssError(
                    "InvalidArgument",
                    f"Invalid signing {cause} in Authorization header.",
                    ec=ec,
                    Authorization=credential,
                )
        if len(parts) != len(expected) or not key_id:
            raise OssError("InvalidArgument", "Invalid Credential.")
        return key_id, scope


def _check_v1(
    head: RequestHead,
    date: str,
    signature: str,
    key_id: str,
    secret: str,
    *,
    bucket: str,
    key: str,
) -> None:
    string_to_sign = signatures.v1_string_to_sign(head, date, bucket=bucket, key=key)
    if not _same(signatures.v1_signature(string_to_sign, secret), signature):
        raise _mismatch(key_id, signature, string_to_sign)


def _check_v4(
    canonical: str, stamp: str, scope: str, *, signature: str, key_id: str, secret: str
) -> None:
    hashed = hashlib.sha256(exact_bytes(canonical)).hexdigest()
    string_to_sign = f"{V4}\n{stamp}\n{scope}\n{hashed}"
    if not _same(signatures.v4_signature(string_to_sign, scope, secret), signature):
        raise _mismatch(key_id, signature, string_to_sign, canonical=canonical)


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), exact_bytes(theirs))


def _mismatch(
    key_id: str, signature: str, string_to_sign: str, *, canonical: str | None = None
) -> OssError:
    error = OssError(
        "SignatureDoesNotMatch",
        OSSAccessKeyId=key_id,
        SignatureProvided=signature,
        StringToSign=string_to_sign,
        StringToSignBytes=exact_bytes(string_to_sign).hex(" ").upper(),
    )
    if canonical is not None:
        error.fields["CanonicalRequest"] = canonical
    return error


def _check_skew(signed_at: int, now: float) -> None:
    if abs(now - signed_at) > SKEW_SECONDS:
        raise _skewed(signed_at, now)


def _skewed(signed_at: int, now: float) -> OssError:
    return OssError(
        "RequestTimeTooSkewed",
        MaxAllowedSkewMilliseconds=str(SKEW_SECONDS * 1000),
        RequestTime=iso_time(signed_at),
        ServerTime=iso_time(now),
    )


def _expired(expires: str, now: float) -> OssError:
    return OssError(
        "AccessDenied",
        "Request has expired.",
        ec="0002-00000069",
        Expires=expires,
        ServerTime=iso_time(now),
    )


def _header_time(date: str) -> int:
    try:
        return dates.parse_stamp(date) if date.endswith("Z") else dates.parse_http_date(date)
    except ValueError:
        raise OssError("AccessDenied", "OSS authentication requires a valid Date.") from None


def _stamp_time(stamp: str) -> int:
    try:
        return dates.parse_stamp(stamp)
    except ValueError:
        raise OssError(
            "InvalidArgument",
            "x-oss-date must be in the form of 20060102T150405Z.",
            ArgumentName="x-oss-date",
            ArgumentValue=stamp,
        ) from None
