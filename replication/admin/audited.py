"""Everything that is done in the admin is on record: who adds, changes or deletes, and what."""

from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from replication.models import ActorKind, AuditAction
from replication.operations.audit import Actor, recorded


def actor_of(request: HttpRequest) -> Actor:
    """The user as the audit names them."""
    return Actor(ActorKind.USER, request.user.get_username())


class Audited:
    """Mixin of every ModelAdmin: what its forms do is in the audit, besides Django's own log.

    What its actions do, operating.py records.
    """

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, AuditAction.ADDED, _named(obj))
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        entry = super().log_change(request, obj, message)  # type: ignore[misc]
        _record(request, AuditAction.CHANGED, f"{_named(obj)}: {entry.get_change_message()}")
        return entry

    def log_deletions(self, request: HttpRequest, queryset: QuerySet) -> Any:
        for obj in queryset:
            _record(request, AuditAction.DELETED, _named(obj))
        return super().log_deletions(request, queryset)  # type: ignore[misc]


def _record(request: HttpRequest, action: AuditAction, about: str) -> None:
    """In the transaction of the form: on record if and only if it is done."""
    with recorded(actor_of(request), action, about=about) as record:
        record.affected = 1


def _named(obj: Model) -> str:
    return f"{obj._meta.verbose_name} {obj}"
