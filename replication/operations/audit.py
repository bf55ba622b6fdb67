"""Records manual actions and who did them: the only writer of AuditEntry."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from django.db.models.functions import Coalesce, Now

from replication.models import ActorKind, AuditAction, AuditEntry

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
    record = Record()
    yield record
    if record.affected is not None:
        add(entry_id, record.affected)
    end(entry_id)


# An action that takes several steps calls these by itself.


def begin(by: Actor, action: AuditAction, *, about: str) -> int:
    """Record that the action begins. Returns the id of its entry."""
    entry = AuditEntry.objects.create(
        actor_kind=by.kind, actor=by.name, action=action, about=about, began_at=Now()
    )
    return entry.id


def add(entry_id: int, affected: int) -> None:
    """Count changed objects; in the transaction that changes them, the count is exact."""
    so_far = Coalesce("affected", 0)
    AuditEntry.objects.filter(pk=entry_id).update(affected=so_far + affected)


def end(entry_id: int) -> bool:
    """Record that the action is complete. Returns whether it was not yet."""
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
        affected=entry.affected,
    )
    return True


def describe(things: str, names: list[str]) -> str:
    """Return e.g. "rules photos, scans": the first MAX_NAMED names, and "…" if there are more.

    To show "…", pass MAX_NAMED + 1 names.
    """
    shown = ", ".join(names[:MAX_NAMED]) or "none"
    return f"{things} {shown}{', …' if len(names) > MAX_NAMED else ''}"
