"""Every call to the identity provider: it passes the one door, and has limits in time and bytes."""

import base64
import json
import time
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jwt
from django.conf import settings

from replication.stores.pools import door, trusted_tls
from replication.stores.transport import Limits, Pool, TransportError

_LIMITS = Limits(connect_seconds=5, read_seconds=5, exchange_seconds=10)
_MAX_BYTES = 256 * 1024
_KEPT_SECONDS = 300
# By a key of the provider's alone: with the client's secret, whoever knows it could make tokens.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_CLOCK_SKEW_SECONDS = 60
_MAX_AGE_SECONDS = 600
_MAX_SUBJECT = 255  # characters, as OpenID Connect has it
_DESCRIPTION = "/.well-known/openid-configuration"

_descriptions: dict[str, tuple[float, dict[str, Any]]] = {}  # by issuer: until when, and what


class ProviderFailed(Exception):
    """The provider can't be reached, or its answer can't be used. The text says which and why."""


class TokenRefused(Exception):
    """The provider's token is not for us, not of now, or not the provider's."""


def description() -> dict[str, Any]:
    """The provider's endpoints, as it describes itself; asked for every five minutes at most.

    https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig

    Raises:
        ProviderFailed: it has no usable description.
    """
    issuer = settings.S3SYNC.oidc_issuer
    until, known = _descriptions.get(issuer, (0.0, {}))
    if time.monotonic() < until:
        return known
    found = _get(issuer.removesuffix("/") + _DESCRIPTION)
    if found.get("issuer") != issuer:
        raise ProviderFailed(
            f"it calls itself {found.get('issuer')!r}, and S3SYNC_OIDC_ISSUER must be just that"
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not is_permitted_url(found.get(name)):
            raise ProviderFailed(f"its {name} is not an https URL: {found.get(name)!r}")
    _descriptions[issuer] = (time.monotonic() + _KEPT_SECONDS, found)
    return found


def is_permitted_url(url: Any) -> bool:
    """Whether it is an https URL, or an http one of a host in S3SYNC_PLAIN_HTTP_HOSTS."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    if parts is None or not parts.hostname or parts.username:
        return False
    is_listed = parts.hostname in {host.lower() for host in settings.S3SYNC.plain_http_hosts}
    return parts.scheme == "https" or (parts.scheme == "http" and is_listed)


def exchange(form: dict[str, str]) -> dict[str, Any]:
    """The tokens for a code, with this form (without the client's secret).

    Raises:
        ProviderFailed: there are none.
    """
    client_id = settings.S3SYNC.oidc_client_id
    secret = settings.S3SYNC.oidc_client_secret.get_secret_value()
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    # https://openid.net/specs/openid-connect-discovery-1_0.html: basic is the default.
    methods = description().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list):
        raise ProviderFailed("its token_endpoint_auth_methods_supported is not a list")
    if "client_secret_basic" in methods:
        pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        form = form | {"client_secret": secret}
    body = urlencode(form).encode()
    return _call("POST", description()["token_endpoint"], headers=headers, body=body)


def verified(id_token: Any, *, nonce: str) -> dict[str, Any]:
    """The claims of an ID token that the provider signed for us, just now, for this login.

    https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation

    Raises:
        TokenRefused: it is not one.
        ProviderFailed: its keys can't be had.
    """
    try:
        header = jwt.get_unverified_header(id_token)
        claims: dict[str, Any] = jwt.decode(
            id_token,
            _key(header.get("kid"), str(header.get("alg"))),
            algorithms=_ALGORITHMS,
            audience=settings.S3SYNC.oidc_client_id,
            issuer=settings.S3SYNC.oidc_issuer,
            leeway=_CLOCK_SKEW_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
        )
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
        raise TokenRefused(str(error)) from error
    if claims["iat"] < time.time() - _MAX_AGE_SECONDS:
        raise TokenRefused("it was not made just now")
    if not claims["sub"] or len(claims["sub"]) > _MAX_SUBJECT or not claims["sub"].isprintable():
        raise TokenRefused("its subject is none")
    if claims["nonce"] != nonce:
        raise TokenRefused("it was made for another login")
    if "azp" not in claims and isinstance(claims["aud"], list) and len(claims["aud"]) > 1:
        raise TokenRefused("it is for several clients, and does not say for which it was made")
    if claims.get("azp", settings.S3SYNC.oidc_client_id) != settings.S3SYNC.oidc_client_id:
        raise TokenRefused("it was made for another client")
    return claims


def user_info(access_token: Any, *, subject: str) -> dict[str, Any]:
    """What the provider says of this person beside the ID token; nothing if it has no such page.

    Raises:
        ProviderFailed: it does not answer.
        TokenRefused: it answers of somebody else.
    """
    url = description().get("userinfo_endpoint")
    if not is_permitted_url(url):
        return {}
    claims = _get(str(url), headers=[("Authorization", f"Bearer {access_token}")])
    if claims.get("sub") != subject:
        raise TokenRefused("the provider's user info is of somebody else")
    return claims


def _key(key_id: Any, algorithm: str) -> jwt.PyJWK:
    if algorithm not in _ALGORITHMS:
        raise TokenRefused(f"it is signed by {algorithm}, and not by a key of the provider's own")
    keys = _get(description()["jwks_uri"]).get("keys")
    if not isinstance(keys, list):
        raise ProviderFailed("its jwks_uri gives no list of keys")
    fitting = [
        key
        for key in keys
        if isinstance(key, dict)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (key_id is None or key.get("kid") == key_id)
    ]
    # A token need not name its key if there is but one.
    if len(fitting) != 1:
        raise TokenRefused(f"the provider has {len(fitting)} keys that it may be signed by")
    try:
        return jwt.PyJWK(fitting[0], algorithm=algorithm)
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
        raise ProviderFailed(f"its key can't be used: {error}") from error


def _get(url: str, *, headers: list[tuple[str, str]] | None = None) -> dict[str, Any]:
    return _call("GET", url, headers=headers or [])


def _call(
    method: str, url: str, *, headers: list[tuple[str, str]], body: bytes | None = None
) -> dict[str, Any]:
    shown = url.partition("?")[0]
    fields = [*headers, ("Accept", "application/json"), ("User-Agent", "s3sync")]
    try:
        with _pool().request(method, url, headers=fields, body=body) as answer:
            text = answer.read_all(at_most=_MAX_BYTES)
    except (TransportError, ValueError) as error:
        raise ProviderFailed(f"{shown} can't be reached: {error}") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if answer.status != 200 or not isinstance(value, dict):
        why = value.get("error") if isinstance(value, dict) else None
        said = f" and said {why!r}" if isinstance(why, str) else ""
        raise ProviderFailed(f"{shown} answered {answer.status}{said}, and not what was asked for")
    return value


@cache
def _pool() -> Pool:
    return Pool(limits=_LIMITS, kept_at_most=1, tls=trusted_tls(), door=door(opens_vpc=False))
