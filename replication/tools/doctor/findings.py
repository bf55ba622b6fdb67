"""Doctor's findings: what each check found, and the fix."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import MEANINGS, Disposition, ErrorCode, ReplicationError


class Level(StrEnum):
    """How serious a finding is. The values are part of the JSON: never rename one."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"  # objects are replicated, but something is lost, unsafe or not in use
    FAIL = "fail"  # objects of a rule are not replicated, or will not be
    UNKNOWN = "unknown"  # doctor can't tell


class Check(StrEnum):
    """A check; docs/guides/doctor.md describes each. The JSON has the names: never rename one."""

    SETTINGS = "settings"
    CHECKSUM = "checksum"
    DATABASE = "database"
    MIGRATIONS = "migrations"
    LANES = "lanes"
    POLLERS = "pollers"
    STATUS = "status"
    RULES = "rules"
    TARGETS = "targets"

    ADDRESS = "address"
    REACHED = "reached"
    CLOCK = "clock"
    CREDENTIALS = "credentials"

    SOURCE_LIST = "source.list"
    SOURCE_REGION = "source.region"
    SOURCE_MISSING = "source.missing"
    SOURCE_READ = "source.read"
    SOURCE_TAGS = "source.tags"
    SOURCE_VERSIONS = "source.versions"
    SOURCE_RESTORE = "source.restore"
    SOURCE_CANARY = "source.canary"

    NOTIFICATION = "notification"
    API = "api"
    QUEUE_POLICY = "queue.policy"
    QUEUE_PERMISSIONS = "queue.permissions"
    QUEUE_RECEIVE = "queue.receive"
    QUEUE_ATTRIBUTES = "queue.attributes"
    QUEUE_SIZE = "queue.size"
    QUEUE_DEAD_LETTERS = "queue.dead-letters"

    DESTINATION_KEY = "destination.key"
    DESTINATION_WRITE = "destination.write"
    DESTINATION_CHECKSUM = "destination.checksum"
    DESTINATION_TAGS = "destination.tags"
    DESTINATION_ACL = "destination.acl"
    DESTINATION_READ = "destination.read"
    DESTINATION_PARTS = "destination.parts"
    DESTINATION_CHARSET = "destination.charset"
    DESTINATION_DELETE = "destination.delete"

    INCOMPLETE = "leg"  # a group of checks that did not run, or was stopped early


@dataclass(frozen=True)
class Finding:
    """What a check found; `fix` is empty if there is nothing to do."""

    level: Level
    check: Check
    found: str
    fix: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True)
class CheckGroup:
    """Checks of one subject, which run in order on a thread of their own, without the database.

    The group ends at the first failure on which its other checks depend. `depends_on` has the keys
    of the groups without which this group can tell nothing. `leaves_behind` says what may stay
    behind if the group is stopped early.
    """

    subject: str
    rule: str
    run: Callable[[], Findings]
    depends_on: tuple[Hashable, ...] = ()
    leaves_behind: str = ""


@dataclass(frozen=True)
class CheckResults:
    """What the checks of one subject found; `rule` is empty if they are not about one rule."""

    subject: str
    rule: str
    findings: tuple[Finding, ...]

    @property
    def has_failed(self) -> bool:
        return any(finding.level is Level.FAIL for finding in self.findings)


def passed(check: Check, found: str) -> Finding:
    """The check found no problem."""
    return Finding(Level.PASS, check, found)


def warned(check: Check, found: str, *, fix: str) -> Finding:
    """Objects are replicated in spite of the problem."""
    return Finding(Level.WARN, check, found, fix)


def failed(check: Check, found: str, *, fix: str) -> Finding:
    """Objects are not replicated."""
    return Finding(Level.FAIL, check, found, fix)


def unknown(check: Check, found: str, *, fix: str = "") -> Finding:
    """Doctor can't tell."""
    return Finding(Level.UNKNOWN, check, found, fix)


def mistaken(mistakes: Mapping[str, str], *, of: str) -> Findings:
    """Findings of the mistakes in a row's names, by field. `of` is the kind of the row."""
    for name, mistake in mistakes.items():
        field = name.replace("_", " ").replace("url", "URL")
        yield failed(
            Check.ADDRESS,
            f"the {of}'s {field} can't be used: {mistake}",
            fix=f"Correct the {of}'s {field} in the admin or in the rules file.",
        )


def from_error(check: Check, error: ReplicationError, *, fix: str = "") -> Finding:
    """A store's error with its usual cause and hint; `fix` replaces the hint if it is given.

    An error that may pass by itself is unknown, not failed.
    """
    meaning = MEANINGS[error.code]
    found = f"{meaning.cause} ({error.detail})" if error.detail else meaning.cause
    if meaning.disposition is Disposition.SLOW_DOWN or error.code in _TRANSIENT:
        return unknown(check, found, fix="Run doctor again in a minute.")
    return failed(check, found, fix=fix or meaning.hint)


_TRANSIENT = {ErrorCode.SOURCE_UNAVAILABLE, ErrorCode.DESTINATION_UNAVAILABLE}
