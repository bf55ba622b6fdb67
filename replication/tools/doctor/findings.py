"""What doctor says: findings, each with what was looked at, what was found, and the fix."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import MEANINGS, Disposition, ErrorCode, ReplicationError


class Level(StrEnum):
    """How bad it is. The values are part of the JSON: never rename one."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"  # objects are replicated, but something is lost, unsafe or out of use
    FAIL = "fail"  # objects of a rule are not replicated, or will not be
    UNKNOWN = "unknown"  # can't tell


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
    DESTINATION_DELETE = "destination.delete"

    LEG = "leg"  # a leg of the road as a whole: not looked at, or broken off


@dataclass(frozen=True)
class Finding:
    """`fix` is empty if there is nothing to do."""

    level: Level
    check: Check
    found: str
    fix: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True)
class Leg:
    """A part of the road that can be looked at by itself, on a thread, without the database.

    It ends at the first failure that the rest stands on. `stands_on` are the keys of legs without
    which this one can tell nothing, `leaves` is what may stay behind if it is broken off.
    """

    place: str
    rule: str
    examine: Callable[[], Findings]
    stands_on: tuple[Hashable, ...] = ()
    leaves: str = ""


@dataclass(frozen=True)
class Examined:
    """What was found in one place; `rule` is empty if it is not about one rule."""

    place: str
    rule: str
    findings: tuple[Finding, ...]

    @property
    def has_failed(self) -> bool:
        return any(finding.level is Level.FAIL for finding in self.findings)


def passed(check: Check, found: str) -> Finding:
    """All is well."""
    return Finding(Level.PASS, check, found)


def warned(check: Check, found: str, *, fix: str) -> Finding:
    """Objects arrive in spite of it."""
    return Finding(Level.WARN, check, found, fix)


def failed(check: Check, found: str, *, fix: str) -> Finding:
    """Objects do not arrive."""
    return Finding(Level.FAIL, check, found, fix)


def unknown(check: Check, found: str, *, fix: str = "") -> Finding:
    """It can't be told from here."""
    return Finding(Level.UNKNOWN, check, found, fix)


def from_error(check: Check, error: ReplicationError, *, fix: str = "") -> Finding:
    """A store's error in the words that it has everywhere; `fix` where a better one is known."""
    meaning = MEANINGS[error.code]
    found = f"{meaning.cause} ({error.detail})" if error.detail else meaning.cause
    if meaning.disposition is Disposition.SLOW_DOWN or error.code in _MAY_PASS:
        return unknown(check, found, fix="Run it again in a minute.")
    return failed(check, found, fix=fix or meaning.hint)


_MAY_PASS = {ErrorCode.SOURCE_UNAVAILABLE, ErrorCode.DESTINATION_UNAVAILABLE}
