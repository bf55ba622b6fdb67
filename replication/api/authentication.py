"""Who calls and with which role: one class for each way to authenticate, here or in signing.py."""

import hmac
from dataclasses import dataclass
from typing import TypeVar

import structlog
from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja.security import HttpBearer

from replication.api import bounds
from replication.api.refusals import Refused
from replication.models import ActorKind, TokenRole
from replication.operations import api_tokens
from replication.operations.audit import Actor

log = structlog.get_logger(__name__)

AnyModel = TypeVar("AnyModel", bound=Model)

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# The audit log's name for tokens from the environment, which have no names of their own.
ENVIRONMENT_TOKENS = "S3SYNC_API_TOKENS"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller; the API's views find it in `request.auth`."""

    name: str
    role: TokenRole
    rule_ids: frozenset[int] | None = None  # it sees and touches these rules alone; None: all

    def __str__(self) -> str:
        """The key by which the call limits count."""
        return f"{self.role} {self.name}"

    def limit(self, rows: QuerySet[AnyModel], rule: str) -> QuerySet[AnyModel]:
        """Of these rows, those whose field `rule` is a rule that the caller may see."""
        if self.rule_ids is None:
            return rows
        return rows.filter(**{f"{rule}__in": self.rule_ids})

    @property
    def actor(self) -> Actor:
        """The caller as an actor of the audit log."""
        return Actor(ActorKind.TOKEN, self.name)


class BearerToken(HttpBearer):
    """`Authorization: Bearer <token>`, with a token from the database or S3SYNC_API_TOKENS.

    Safe methods need the role *read*, all others *operate*; tokens that are bound to rules reach
    what bounds.py lets them reach. The checks are here, so that no view can forget them.
    """

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        """The caller; None for an unknown token.

        Raises:
            Refused: 401 for a token that is revoked or has ended, 403 for one that may not do
                this, 404 for a row of another rule than the token's.
        """
        caller = _from_environment(token) or _from_database(token)
        return authorize(request, caller) if caller else None


def authorize(request: HttpRequest, caller: Caller) -> Caller:
    """The caller, if its role and its rules let it do what the request asks.

    Raises:
        Refused: 403, or 404 for a row of a rule that the caller may not see.
    """
    if caller.role != TokenRole.OPERATE and request.method not in SAFE_METHODS:
        raise Refused(
            403,
            "forbidden",
            f"The token {caller.name} may only read. Use a token with the role operate: "
            "`manage.py apitoken create NAME --role operate`.",
        )
    if caller.rule_ids is not None:
        bounds.check(request, caller.name, caller.rule_ids)
    return caller


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
    found = api_tokens.find(secret)
    if found is None:
        return None
    token = found.token
    if token.revoked_at:
        raise _no_longer_valid(f"The token {token.name} was revoked.")
    if found.has_ended:
        raise _no_longer_valid(
            f"The token {token.name} ended on {token.ends_at:%Y-%m-%d %H:%M} UTC."
        )
    return Caller(token.name, TokenRole(token.role), found.rule_ids)


def _no_longer_valid(why: str) -> Refused:
    log.warning("api.unauthorized", reason=why)
    return Refused(
        401,
        "unauthorized",
        f"{why} Create a new one with `manage.py apitoken create`, and send that.",
        headers={"WWW-Authenticate": "Bearer"},
    )
