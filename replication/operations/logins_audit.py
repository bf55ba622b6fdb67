"""Records logins in the audit: good, failed and refused ones, logouts, changes of passwords.

Failures are counted in few entries, so that nobody without a password can fill the table.
"""

from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from axes.signals import user_locked_out
from django.contrib.auth.models import AbstractBaseUser, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.functions import Now
from django.dispatch import receiver
from django.http import HttpRequest

from replication.models import ActorKind, AuditAction, AuditEntry
from replication.operations import audit
from replication.operations.audit import Actor

log = structlog.get_logger(__name__)

# Failures of one name from one address within this time are one entry with a count.
COUNTED_TOGETHER = timedelta(minutes=15)
# With so many entries of failures in that time, later ones are counted without their addresses.
MANY_ENTRIES = 200
NO_USER = "(no such user)"


@receiver(user_logged_in)
def _logged_in(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    _happened(AuditAction.LOGGED_IN, user.get_username(), request)


@receiver(user_logged_out)
def _logged_out(request: HttpRequest, user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        _happened(AuditAction.LOGGED_OUT, user.get_username(), request)


@receiver(user_login_failed)
def _failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    _count(AuditAction.LOGIN_FAILED, credentials.get("username"), request)


@receiver(user_locked_out)
def _locked_out(request: HttpRequest, username: str | None, **_: Any) -> None:
    refused(username, request)


def failed(name: str | None, request: HttpRequest) -> None:
    """Record a login that failed otherwise than by a wrong password."""
    _count(AuditAction.LOGIN_FAILED, name, request)


def refused(name: str | None, request: HttpRequest) -> None:
    """Record a login that was refused because of too many failures before, or of groups."""
    _count(AuditAction.LOGIN_REFUSED, name, request)


def password_changed(request: HttpRequest) -> None:
    """Record that the user of this request changed the own password."""
    _happened(AuditAction.PASSWORD_CHANGED, request.user.get_username(), request)


def has_logged_in(name: str, address: str | None) -> bool:
    """Whether this user has logged in from this address, or its /64 network, before."""
    if not name or address is None:
        return False
    logins = AuditEntry.objects.filter(action=AuditAction.LOGGED_IN, actor=name)
    first = ip_address(address)
    if isinstance(first, IPv6Address):
        network = ip_network((first, 64), strict=False)
        return logins.filter(
            address__gte=str(network.network_address), address__lte=str(network.broadcast_address)
        ).exists()
    return logins.filter(address=address).exists()


def _happened(action: AuditAction, name: str, request: HttpRequest) -> None:
    address = _address(request)
    if address is not None:  # a login by code alone, such as a test's, is nobody's action
        actor = Actor(ActorKind.USER, name)
        audit.end(audit.begin(actor, action, about=f"from {address}", address=address))


def _count(action: AuditAction, name: str | None, request: HttpRequest | None) -> None:
    address = _address(request) if request else None
    # Names that nobody has are not kept: there is no end of them, and some are typed passwords.
    known = bool(name) and "\0" not in str(name) and User.objects.filter(username=name).exists()
    actor = Actor(ActorKind.USER, str(name) if known else NO_USER)
    log.warning(f"audit.{action}", actor=actor.name, address=address)
    recent = AuditEntry.objects.filter(began_at__gt=Now() - COUNTED_TOGETHER)
    failures = recent.filter(action__in=[AuditAction.LOGIN_FAILED, AuditAction.LOGIN_REFUSED])
    same = failures.filter(action=action, actor=actor.name)
    entry = same.filter(address=address).first()
    if entry is None and failures.count() >= MANY_ENTRIES:
        address = None
        entry = same.filter(address=None).first()
    if entry is not None:
        audit.add(entry.pk, 1)
        return
    about = f"from {address}" if address else "from many addresses"
    entry_id = audit.begin(actor, action, about=about, address=address)
    audit.add(entry_id, 1)
    audit.end(entry_id)


def _address(request: HttpRequest) -> str | None:
    text = request.META.get("REMOTE_ADDR", "")
    try:
        return str(ip_address(text))
    except ValueError:
        return None
