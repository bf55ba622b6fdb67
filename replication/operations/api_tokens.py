"""Creates, finds and revokes API tokens."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now

from replication.models import ApiToken, AuditAction, ReplicationRule, TokenRole
from replication.operations import audit
from replication.operations.audit import Actor, recorded

SECRET_BYTES = 32
# Lets people and secret scanners recognise a token.
PREFIX = "s3sync_"
SHOWN_LENGTH = len(PREFIX) + 6
# `last_used_at` is written at most this often.
RECORD_USE_EVERY = timedelta(minutes=1)
# Long enough to replace a token four times a year, short enough that a forgotten one ends.
USUAL_LIFETIME = timedelta(days=90)


@dataclass(frozen=True)
class NewToken:
    """A token and its secret, which is shown only this once."""

    token: ApiToken
    secret: str


@dataclass(frozen=True)
class FoundToken:
    """A token of the database, revoked and ended ones too."""

    token: ApiToken
    has_ended: bool  # by the database's clock
    rule_ids: frozenset[int] | None  # the rules that it is bound to; None: all


def create(
    name: str,
    *,
    role: TokenRole,
    by: Actor,
    ends_at: datetime | None,
    rules: Collection[ReplicationRule] = (),
) -> NewToken:
    """Create a token that ends at that time, or never, bound to these rules if there are any.

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
        ends_at=ends_at,
        is_bound=bool(rules),
    )
    token.full_clean(exclude=["created_at"])
    with recorded(by, AuditAction.TOKEN_CREATED, about=_describe(token, rules)) as record:
        with transaction.atomic():  # bound from the first moment
            token.save()
            token.rules.set(rules)
        record.affected = 1
    return NewToken(token, secret)


def find(secret: str) -> FoundToken | None:
    """Find the token with this secret. Records the use of one that is valid, to the minute."""
    never_or_long_ago = Q(last_used_at=None) | Q(last_used_at__lt=Now() - RECORD_USE_EVERY)
    token = (
        ApiToken.objects.filter(secret_sha256=_sha256(secret))
        .annotate(is_use_due=_whether(never_or_long_ago), has_ended=_whether(Q(ends_at__lte=Now())))
        .first()
    )
    if token is None:
        return None
    has_ended = bool(token.has_ended)  # null of a token without an end
    if token.revoked_at is None and not has_ended and token.is_use_due:
        ApiToken.objects.filter(pk=token.pk).filter(never_or_long_ago).update(last_used_at=Now())
    rule_ids = frozenset(token.rules.values_list("pk", flat=True)) if token.is_bound else None
    return FoundToken(token, has_ended, rule_ids)


def revoke(tokens: QuerySet[ApiToken], *, by: Actor) -> int:
    """Revoke these tokens for good. Returns how many were not revoked before."""
    names = list(tokens.order_by("name").values_list("name", flat=True)[: audit.MAX_NAMED + 1])
    with recorded(
        by, AuditAction.TOKENS_REVOKED, about=audit.describe("API tokens", names)
    ) as record:
        revoked = tokens.filter(revoked_at=None).update(revoked_at=Now())
        record.affected = revoked
    return revoked


def _describe(token: ApiToken, rules: Collection[ReplicationRule]) -> str:
    end = f"ends {token.ends_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if token.ends_at else "no end"
    names = sorted(rule.name for rule in rules)
    bound = f", {audit.describe('rules', names)}" if names else ""
    return f"API token {token.name}, role {token.role}, {end}{bound}"


def _whether(condition: Q) -> ExpressionWrapper:
    return ExpressionWrapper(condition, output_field=BooleanField())


def _sha256(secret: str) -> str:
    # A header may carry bytes that are no valid text; such a secret matches no token.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
