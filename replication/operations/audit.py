"""Records manual actions and who did them: the only writer of AuditEntry.

Changes of the configuration are recorded by PostgreSQL: see ConfigurationChange.
"""

import getpass
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models.functions import Coalesce, Now

from replication.models import ActorKind, AuditAction, AuditEntry, ConfigurationChange

log = structlog.get_logger(__name__)

MAX_NAMED = 10


@dataclass(frozen=True)
class Actor:
    """The user, API token or command line that acts."""

    kind: ActorKind
    name: str


@dataclass
class Record:
    """An action in progress; the caller sets `affected`, the number of changed objects."""

    affected: int | None = None
    entry_id: int = 0


def command_line_actor() -> Actor:
    """The user who runs this process, by their name on this system."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = "unknown"
    return Actor(ActorKind.COMMAND, name)


@contextmanager
def recorded(by: Actor, action: AuditAction, *, about: str) -> Iterator[Record]:
    """Record the action in the block, even if it fails or the process dies."""
    entry_id = begin(by, action, about=about)
    record = Record(entry_id=entry_id)
    yield record
    if record.affected is not None:
        add(entry_id, record.affected)
    end(entry_id)


# An action that takes several steps calls these by itself.


def begin(by: Actor, action: AuditAction, *, about: str, address: str | None = None) -> int:
    """Record that the action begins, from this IP address. Returns the id of its entry."""
    entry = AuditEntry.objects.create(
        actor_kind=by.kind,
        actor=by.name,
        action=action,
        about=about,
        address=address,
        began_at=Now(),
    )
    return entry.id


def add(entry_id: int, affected: int) -> None:
    """Count changed objects; in the transaction that changes them, the count is exact."""
    so_far = Coalesce("affected", 0)
    AuditEntry.objects.filter(pk=entry_id).update(affected=so_far + affected)


def end(entry_id: int) -> bool:
    """Record that the action is complete. Returns whether it was not yet."""
    take_changes(entry_id)
    entries = AuditEntry.objects.filter(pk=entry_id)
    if not entries.filter(ended_at__isnull=True).update(ended_at=Now()):
        return False
    entry = entries.get()
    log.info(
        "audit.recorded",
        actor_kind=entry.actor_kind,
        actor=entry.actor,
        action=entry.action,
        about=entry.about,
        address=entry.address,
        affected=entry.affected,
    )
    return True


def take_changes(entry_id: int) -> None:
    """Make the changes of the configuration in this transaction those of the entry.

    Its changes have its time, which an index finds.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_configurationchange SET entry_id = %s
            WHERE transaction = pg_current_xact_id_if_assigned()::text::bigint
              AND entry_id IS NULL AND made_at = now()
            """,
            [entry_id],
        )


def describe(things: str, names: list[str]) -> str:
    """Return e.g. "rules photos, scans": the first MAX_NAMED names, and "…" if there are more.

    To show "…", pass MAX_NAMED + 1 names.
    """
    shown = ", ".join(names[:MAX_NAMED]) or "none"
    return f"{things} {shown}{', …' if len(names) > MAX_NAMED else ''}"


def exported(*, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """What the audit has since then, or all of it, the oldest first; changes name their entries."""
    entries = AuditEntry.objects.order_by("began_at", "pk")
    changes = ConfigurationChange.objects.order_by("made_at", "pk")
    if since is not None:
        entries, changes = entries.filter(began_at__gte=since), changes.filter(made_at__gte=since)
    with transaction.atomic():  # a server-side cursor needs one behind a pooler
        yield from heapq.merge(
            map(_entry_line, entries.iterator()),
            map(_change_line, changes.select_related("entry").iterator()),
            key=itemgetter("at"),
        )


def _entry_line(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": entry.began_at.isoformat(),
        "entry": entry.pk,
        "actor": entry.actor,
        "actor_kind": entry.actor_kind,
        "action": entry.action,
        "about": entry.about,
        "address": entry.address,
        "affected": entry.affected,
        "ended_at": entry.ended_at and entry.ended_at.isoformat(),
    }


def _change_line(change: ConfigurationChange) -> dict[str, Any]:
    return {
        "at": change.made_at.isoformat(),
        "entry": change.entry_id,
        "actor": change.entry.actor if change.entry else None,
        "database_user": change.database_user,
        "client": change.client,
        "table": change.table,
        "row": change.row,
        "before": change.before,
        "after": change.after,
    }
