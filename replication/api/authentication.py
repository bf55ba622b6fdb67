"""Who calls and with which role: one class for each way to authenticate, here or in signing.py."""

import hmac
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer

from replication.api.refusals import Refused
from replication.models import ActorKind, TokenRole
from replication.operations import api_tokens
from replication.operations.audit import Actor

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# The audit log's name for tokens from the environment, which have no names of their own.
ENVIRONMENT_TOKENS = "S3SYNC_API_TOKENS"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller; the API's views find it in `request.auth`."""

    name: str
    role: TokenRole

    def __str__(self) -> str:
        """The key by which the call limits count."""
        return f"{self.role} {self.name}"

    @property
    def actor(self) -> Actor:
        """The caller as an actor of the audit log."""
        return Actor(ActorKind.TOKEN, self.name)


class BearerToken(HttpBearer):
    """`Authorization: Bearer <token>`, with a token from the database or S3SYNC_API_TOKENS.

    Safe methods need the role *read*, all others *operate*. The check is here, so that no view
    can forget it.
    """

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        """The caller; None for an unknown token.

        Raises:
            Refused: 401 for a revoked token, 403 for a role that may not use the method.
        """
        caller = _from_environment(token) or _from_database(token)
        return authorize(request, caller) if caller else None


def authorize(request: HttpRequest, caller: Caller) -> Caller:
    """The caller, if its role may use the request's method.

    Raises:
        Refused: 403.
    """
    if caller.role == TokenRole.OPERATE or request.method in SAFE_METHODS:
        return caller
    raise Refused(
        403,
        "forbidden",
        f"The token {caller.name} may only read. Use a token with the role operate: "
        "`manage.py apitoken create NAME --role operate`.",
    )


def caller_of(request: HttpRequest) -> Caller:
    """The caller of an authenticated request."""
    caller = request.auth  # type: ignore[attr-defined]  # put there by ninja
    assert isinstance(caller, Caller)
    return caller


def _from_environment(token: str) -> Caller | None:
    """Asks no database, so that these tokens also work while the database is down."""
    offered = token.encode(errors="surrogatepass")
    if any(hmac.compare_digest(offered, known.encode()) for known in settings.S3SYNC.api_tokens):
        return Caller(ENVIRONMENT_TOKENS, TokenRole.OPERATE)
    return None


def _from_database(secret: str) -> Caller | None:
    token = api_tokens.find(secret)
    if token is None:
        return None
    if token.revoked_at:
        raise Refused(
            401,
            "unauthorized",
            f"The token {token.name} was revoked. Create a new one with `manage.py apitoken "
            "create`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Caller(token.name, TokenRole(token.role))
