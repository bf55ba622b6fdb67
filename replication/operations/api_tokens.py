"""Creates, finds and revokes API tokens."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now

from replication.models import ApiToken, AuditAction, TokenRole
from replication.operations import audit
from replication.operations.audit import Actor, recorded

SECRET_BYTES = 32
# Lets people and secret scanners recognise a token.
PREFIX = "s3sync_"
SHOWN_LENGTH = len(PREFIX) + 6
# `last_used_at` is written at most this often.
RECORD_USE_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class NewToken:
    """A token and its secret, which is shown only this once."""

    token: ApiToken
    secret: str


def create(name: str, *, role: TokenRole, by: Actor) -> NewToken:
    """Create a token.

    Raises:
        ValidationError: the name is taken or not valid.
    """
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = ApiToken(
        name=name,
        role=role,
        secret_sha256=_sha256(secret),
        prefix=secret[:SHOWN_LENGTH],
        created_by=by.name,
        created_at=Now(),
    )
    token.full_clean(exclude=["created_at"])
    about = f"API token {name}, role {role.value}"
    with recorded(by, AuditAction.TOKEN_CREATED, about=about) as record:
        token.save()
        record.affected = 1
    return NewToken(token, secret)


def find(secret: str) -> ApiToken | None:
    """Find the token with this secret, revoked or not. Records its use, to the minute."""
    never_or_long_ago = Q(last_used_at=None) | Q(last_used_at__lt=Now() - RECORD_USE_EVERY)
    token = (
        ApiToken.objects.filter(secret_sha256=_sha256(secret))
        .annotate(is_use_due=ExpressionWrapper(never_or_long_ago, output_field=BooleanField()))
        .first()
    )
    if token and token.revoked_at is None and token.is_use_due:
        ApiToken.objects.filter(pk=token.pk).filter(never_or_long_ago).update(last_used_at=Now())
    return token


def revoke(tokens: QuerySet[ApiToken], *, by: Actor) -> int:
    """Revoke these tokens for good. Returns how many were not revoked before."""
    names = list(tokens.order_by("name").values_list("name", flat=True)[: audit.MAX_NAMED + 1])
    with recorded(
        by, AuditAction.TOKENS_REVOKED, about=audit.describe("API tokens", names)
    ) as record:
        revoked = tokens.filter(revoked_at=None).update(revoked_at=Now())
        record.affected = revoked
    return revoked


def _sha256(secret: str) -> str:
    # A header may carry bytes that are no valid text; such a secret matches no token.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
