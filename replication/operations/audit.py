"""Records what is done by hand, by whom: the one writer of AuditEntry."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from django.db.models.functions import Now

from replication.models import ActorKind, AuditAction, AuditEntry

log = structlog.get_logger(__name__)

MAX_NAMED = 10


@dataclass(frozen=True)
class Actor:
    """Who does it."""

    kind: ActorKind
    name: str


@dataclass
class Record:
    """What is being done; whoever does it says how many things it changed."""

    affected: int | None = None


def command_line_actor() -> Actor:
    """Whoever runs this process, by the name that the system knows."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        name = "unknown"
    return Actor(ActorKind.COMMAND, name)


@contextmanager
def recorded(by: Actor, action: AuditAction, *, about: str) -> Iterator[Record]:
    """What is done inside is on record, even where it breaks off or the process dies."""
    entry = AuditEntry.objects.create(
        actor_kind=by.kind, actor=by.name, action=action, about=about, began_at=Now()
    )
    record = Record()
    yield record
    AuditEntry.objects.filter(pk=entry.pk).update(ended_at=Now(), affected=record.affected)
    log.info(
        "audit.recorded",
        actor_kind=by.kind.value,
        actor=by.name,
        action=action.value,
        about=about,
        affected=record.affected,
    )


def describe(things: str, names: list[str]) -> str:
    """E.g. "rules photos, scans": the first few by name, of the rest that there are more.

    One name more than MAX_NAMED says so.
    """
    shown = ", ".join(names[:MAX_NAMED]) or "none"
    return f"{things} {shown}{', …' if len(names) > MAX_NAMED else ''}"
