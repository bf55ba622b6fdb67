"""Who calls, and what they may: each way to prove it is a class here, or in a module of its own."""

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
# How a token of the environment is called in the audit; it has no name of its own.
OF_THE_ENVIRONMENT = "S3SYNC_API_TOKENS"


@dataclass(frozen=True)
class Caller:
    """Somebody who has proved who they are; the API's views find it at `request.auth`."""

    name: str
    role: TokenRole

    def __str__(self) -> str:
        """What the limits of calls count by."""
        return f"{self.role} {self.name}"

    @property
    def actor(self) -> Actor:
        """The caller as the audit names it."""
        return Actor(ActorKind.TOKEN, self.name)


class BearerToken(HttpBearer):
    """`Authorization: Bearer <token>`, a token of the database or of S3SYNC_API_TOKENS.

    A safe method needs the role *read*, every other one *operate*: no view can forget to ask.
    """

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        """The caller; None for a token that nobody has.

        Raises:
            Refused: 401 for a revoked token, 403 for a role that does not suffice.
        """
        caller = _of_environment(token) or _of_database(token)
        return admit(request, caller) if caller else None


def admit(request: HttpRequest, caller: Caller) -> Caller:
    """The caller, if its role suffices for the request's method.

    Raises:
        Refused: 403.
    """
    if caller.role == TokenRole.OPERATE or request.method in SAFE_METHODS:
        return caller
    raise Refused(
        403,
        "forbidden",
        f"The token {caller.name} may only read. Use one with the role operate: "
        "`manage.py apitoken create NAME --role operate`.",
    )


def caller_of(request: HttpRequest) -> Caller:
    """Who sent a request that was let in."""
    caller = request.auth  # type: ignore[attr-defined]  # put there by ninja
    assert isinstance(caller, Caller)
    return caller


def _of_environment(token: str) -> Caller | None:
    """Asks no database, so that it is known who calls even while that is away."""
    offered = token.encode(errors="surrogatepass")
    if any(hmac.compare_digest(offered, known.encode()) for known in settings.S3SYNC.api_tokens):
        return Caller(OF_THE_ENVIRONMENT, TokenRole.OPERATE)
    return None


def _of_database(secret: str) -> Caller | None:
    token = api_tokens.find(secret)
    if token is None:
        return None
    if token.revoked_at:
        raise Refused(
            401,
            "unauthorized",
            f"The token {token.name} was revoked: make another one with `manage.py apitoken "
            "create`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Caller(token.name, TokenRole(token.role))
