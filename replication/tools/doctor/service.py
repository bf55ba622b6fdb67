"""The service's own leg: settings, database, migrations, checksums, and who is alive."""

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connection

from replication.cluster.database import why_not_ready
from replication.models import NotificationTarget
from replication.monitoring.notifications.sender import Unsendable, services
from replication.monitoring.status import Problem, Status
from replication.stores.checksums import CRC64
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    Level,
    failed,
    passed,
    warned,
)

# The check value of CRC-64/XZ, of the digits from 1 to 9.
_DIGITS, _CRC_OF_DIGITS = b"123456789", 0x995DC9BBDF1939FA

_OLDEST_POSTGRESQL = 14

_CHECKS = {"no_lane": Check.LANES, "no_poller": Check.POLLERS}
# Each queue's leg says them, with what it found besides.
_SAID_ELSEWHERE = {"queue_error", "queue_silent"}
_FIXES = {
    "no_lane": "Start `manage.py qcluster`, under a supervisor; its log says what it waits for.",
    "no_poller": "Start `manage.py qcluster` with S3SYNC_POLL_IN_CLUSTER on, or else "
    "`manage.py pollsqs`.",
    "dead_letters": "Open one under “Dead letters” in the admin: the reason is beside it.",
    "target_failing": "Mend what it names, then “Send a test message” in the list of targets.",
    "rule_parked": "Mend what it names: the rest of this report may say more.",
    "rule_paused": "“Resume” it in the admin, once what it was paused for is over.",
    "failed_jobs": "See “Failures” in the admin: cause and fix are beside each.",
}


def examine_installation() -> Findings:
    """What can be told without asking the tables; ends at a database that can't be worked with."""
    problems = [each for each in checks.run_checks() if each.is_serious()]
    for problem in problems:
        yield _of_django(problem)
    if not problems:
        yield passed(Check.SETTINGS, "the environment and Django's settings are usable")
    crc = CRC64.calc(_DIGITS)
    if crc == _CRC_OF_DIGITS:
        yield passed(Check.CHECKSUM, f"CRC-64 computes its check value, {_CRC_OF_DIGITS:x}")
    else:
        yield failed(
            Check.CHECKSUM,
            f"CRC-64 of {_DIGITS.decode()!r} is {crc:x} here, and not {_CRC_OF_DIGITS:x}",
            fix="Install the pinned requirements again: pip install --force-reinstall "
            "--require-hashes -r requirements.txt. If it stays, this host computes wrongly.",
        )
    not_ready = why_not_ready()
    if not_ready is not None and not_ready.code == "not_migrated":
        yield failed(Check.MIGRATIONS, not_ready.reason, fix="Run `manage.py migrate`.")
    elif not_ready is not None:
        yield failed(
            Check.DATABASE,
            not_ready.reason,
            fix="Start PostgreSQL, let this host in (pg_hba.conf, firewall), or correct "
            "DATABASE_URL: user, password, host, port and name.",
        )
    else:
        yield from _of_database()


def examine_life(status: Status, rule_names: set[str]) -> Findings:
    """What the status page would say, of these rules and of all."""
    found = [
        problem
        for problem in status.problems
        if problem.code not in _SAID_ELSEWHERE and (not problem.rule or problem.rule in rule_names)
    ]
    codes = {problem.code for problem in found}
    if "no_lane" not in codes:
        yield passed(Check.LANES, f"{_count(status.lanes_alive, 'lane')} alive")
    if "no_poller" not in codes and any(queue.enabled for queue in status.queues):
        yield passed(Check.POLLERS, f"{_count(status.pollers_alive, 'poller')} alive")
    for problem in found:
        yield _of_status(problem)
    if codes <= _CHECKS.keys():
        yield passed(Check.STATUS, "nothing waits for a person")


def examine_targets() -> Findings:
    """Whether people can be told; nothing is sent."""
    for target in NotificationTarget.objects.filter(enabled=True):
        try:
            found = ", ".join(services(target.credential_profile))
            yield passed(Check.TARGETS, f"{target.name} is told by {found}")
        except Unsendable as error:
            yield warned(
                Check.TARGETS,
                f"{target.name} can't be told: {error}",
                fix="Mount the file or set the variable for clusters and web servers, and try it: "
                f"`manage.py notify --test {target.name}`.",
            )


def _of_database() -> Findings:
    major, minor = divmod(int(getattr(connection, "pg_version", 0)), 10_000)
    name = connection.settings_dict["NAME"]
    if major < _OLDEST_POSTGRESQL:
        yield failed(
            Check.DATABASE,
            f"the database {name} is PostgreSQL {major}",
            fix=f"Upgrade it to {_OLDEST_POSTGRESQL} or later.",
        )
        return
    yield passed(Check.DATABASE, f"{name} is reached, PostgreSQL {major}.{minor}")
    yield passed(Check.MIGRATIONS, "all are applied")


def _of_django(problem: CheckMessage) -> Finding:
    return failed(
        Check.SETTINGS,
        f"{problem.msg} ({problem.id})",
        fix=problem.hint or "Take the change of s3sync/settings.py back.",
    )


def _of_status(problem: Problem) -> Finding:
    check = _CHECKS.get(problem.code)
    fix = _FIXES.get(problem.code, "docs/guides/operations.md says what to do.")
    if check is None:
        return warned(Check.STATUS, problem.detail, fix=fix)
    return Finding(Level.FAIL, check, problem.detail, fix)


def _count(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
