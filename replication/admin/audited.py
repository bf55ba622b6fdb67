"""Records in the audit log who adds, changes or deletes what in the admin."""

from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from replication.models import ActorKind, AuditAction
from replication.operations.audit import Actor, recorded, take_changes

_DELETION = "s3sync.deletion"  # in a request: the entry of what is being deleted


def actor_of(request: HttpRequest) -> Actor:
    """The user as an actor of the audit log."""
    return Actor(ActorKind.USER, request.user.get_username())


class Audited:
    """Mixin of every ModelAdmin: records what its forms do, besides Django's own log.

    replication/operations/ records what its actions do.
    """

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, AuditAction.ADDED, _title(obj))
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        entry = super().log_change(request, obj, message)  # type: ignore[misc]
        _record(request, AuditAction.CHANGED, f"{_title(obj)}: {entry.get_change_message()}")
        return entry

    def log_deletions(self, request: HttpRequest, queryset: QuerySet) -> Any:
        for obj in queryset:
            entry_id = _record(request, AuditAction.DELETED, _title(obj))
            request.META[_DELETION] = entry_id
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        super().delete_model(request, obj)  # type: ignore[misc]
        # Django has logged it before, when there was no change yet.
        take_changes(request.META[_DELETION])


def _record(request: HttpRequest, action: AuditAction, about: str) -> int:
    """Write the entry in the form's transaction: it is stored if and only if the change is."""
    with recorded(actor_of(request), action, about=about) as record:
        record.affected = 1
    return record.entry_id


def _title(obj: Model) -> str:
    return f"{obj._meta.verbose_name} {obj}"
