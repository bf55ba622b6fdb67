"""Whom an identity provider vouches for: their users here, and the groups of these.

A user belongs to an issuer and a subject. No other user is taken over, whatever name or e-mail
address the provider claims.
"""

import hashlib
import re
from collections.abc import Set
from dataclasses import dataclass

import structlog
from django.contrib.auth.models import Group, User
from django.db import transaction

from replication.models import ActorKind, AuditAction, SignOnIdentity
from replication.operations.audit import Actor, recorded

log = structlog.get_logger(__name__)

SUPERUSER = "superuser"
MAX_NAME = 150

_NOT_IN_NAMES = re.compile(r"[^\w.@+-]+")


@dataclass(frozen=True)
class Identity:
    """A person as a provider names them; only `issuer` and `subject` say who it is."""

    issuer: str
    subject: str
    name: str
    email: str


def sign_on(who: Identity, roles: Set[str]) -> User | None:
    """The user of this identity, made if need be, with these roles and no others.

    A role is the name of a group, or SUPERUSER. Without any there is no user: one that there was
    loses its groups.
    """
    roles = _known(roles)
    with transaction.atomic():
        identity = (
            SignOnIdentity.objects.select_for_update()
            .select_related("user")
            .filter(issuer=who.issuer, subject=who.subject)
            .first()
        )
        if identity is not None:
            user = identity.user
            _set_roles(user, roles)
            return user if roles else None
        if not roles:
            return None
        email = who.email if who.email.isprintable() else ""
        user = User(username=_free_name(who), email=email[:254], is_staff=True)
        user.set_unusable_password()
        about = f"user {user.username}, who is {who.subject!r} at {who.issuer}"
        with recorded(_actor(user), AuditAction.ADDED, about=about) as record:
            user.save()
            SignOnIdentity.objects.create(user=user, issuer=who.issuer, subject=who.subject)
            _put_in_groups(user, roles)
            record.affected = 1
        return user


def _known(roles: Set[str]) -> set[str]:
    """Those of the roles that there are."""
    groups = set(Group.objects.filter(name__in=roles).values_list("name", flat=True))
    known = groups | ({SUPERUSER} & roles)
    if unknown := roles - known:
        log.warning("sso.unknown_roles", roles=sorted(unknown), setting="S3SYNC_OIDC_ROLES")
    return known


def _set_roles(user: User, roles: Set[str]) -> None:
    """Set the groups of a user as the provider says now. A change of them is in the audit."""
    if _roles_of(user) == roles:
        return
    about = f"user {user.username}: {', '.join(sorted(roles)) or 'no role'}, by single sign-on"
    with recorded(_actor(user), AuditAction.CHANGED, about=about) as record:
        _put_in_groups(user, roles)
        record.affected = 1


def _put_in_groups(user: User, roles: Set[str]) -> None:
    user.is_superuser = SUPERUSER in roles
    user.is_staff = bool(roles)
    user.save(update_fields=["is_superuser", "is_staff"])
    user.groups.set(Group.objects.filter(name__in=roles))


def _roles_of(user: User) -> set[str]:
    names = set(user.groups.values_list("name", flat=True))
    return names | ({SUPERUSER} if user.is_superuser else set())


def _free_name(who: Identity) -> str:
    """The name that the provider claims, if nobody has it; else with some letters of its own."""
    name = _NOT_IN_NAMES.sub("-", who.name or who.subject)[: MAX_NAME - 9] or "user"
    if not User.objects.filter(username__iexact=name).exists():
        return name
    return f"{name}-{hashlib.sha256(f'{who.issuer} {who.subject}'.encode()).hexdigest()[:8]}"


def _actor(user: User) -> Actor:
    return Actor(ActorKind.USER, user.username)
