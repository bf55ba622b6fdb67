"""Checks of the service itself: settings, checksums, database, migrations, and live processes."""

from ipaddress import ip_address

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connection

from replication.cluster.database import why_not_ready
from replication.cluster.pooling import is_pooled
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

# The check value of CRC-64/XZ: the checksum of the digits 1 to 9.
_DIGITS, _CRC_OF_DIGITS = b"123456789", 0x995DC9BBDF1939FA

_OLDEST_POSTGRESQL = 14

_CHECK_OF_PROBLEM = {"no_lane": Check.LANES, "no_poller": Check.POLLERS}
# The checks of each queue report these problems, with more detail.
_REPORTED_BY_QUEUE_CHECKS = {"queue_error", "queue_silent"}
_FIXES = {
    "no_lane": "Start `manage.py qcluster` under a supervisor; its log says what it waits for.",
    "no_poller": "Start `manage.py qcluster` with S3SYNC_POLL_IN_CLUSTER on, or "
    "`manage.py pollsqs`.",
    "dead_letters": "Open one under “Dead letters” in the admin: it shows the reason.",
    "target_failing": "Fix what the error names; then “Send a test message” to the target.",
    "token_ends": "`manage.py apitoken create NAME`; `apitoken list` says when each was last used.",
    "old_transaction": "Let it end, or end it in psql as said.",
    "queue_bloated": "End what is old; then `VACUUM replication_transferjob` in psql.",
    "history_without_day": "`manage.py prune` makes the days and moves the jobs.",
    "rules_collide": "Edit one of the rules in the admin or in the rules file.",
    "rule_parked": "Fix the cause that is named; the rest of this report may say more.",
    "rule_paused": "“Resume” the rule in the admin once the reason for the pause is gone.",
    "failed_jobs": "See “Failures” in the admin: it shows the cause and the fix of each.",
}


def check_installation() -> Findings:
    """Check what needs no table. The last check is whether the database can be used."""
    problems = [each for each in checks.run_checks() if each.is_serious()]
    for problem in problems:
        yield _from_django(problem)
    if not problems:
        yield passed(Check.SETTINGS, "the environment and Django's settings are usable")
    crc = CRC64.calc(_DIGITS)
    if crc == _CRC_OF_DIGITS:
        yield passed(Check.CHECKSUM, f"CRC-64 computes its check value, {_CRC_OF_DIGITS:x}")
    else:
        yield failed(
            Check.CHECKSUM,
            f"CRC-64 of {_DIGITS.decode()!r} is {crc:x} on this host, not {_CRC_OF_DIGITS:x}, so "
            "no copy can be verified",
            fix="Install the pinned requirements again: pip install --force-reinstall "
            "--require-hashes --find-links requirements/wheels -r requirements.txt. If that does "
            "not help, this host computes wrongly.",
        )
    not_ready = why_not_ready()
    if not_ready is not None and not_ready.code == "not_migrated":
        yield failed(Check.MIGRATIONS, not_ready.reason, fix="Run `manage.py migrate`.")
    elif not_ready is not None:
        yield failed(
            Check.DATABASE,
            not_ready.reason,
            fix="Start PostgreSQL, allow this host to connect (pg_hba.conf, firewall), or correct "
            "DATABASE_URL: user, password, host, port and name.",
        )
    else:
        yield from _check_database()


def check_cluster(status: Status, rule_names: set[str]) -> Findings:
    """Report the problems of the status page that concern these rules or no rule in particular."""
    found = [
        problem
        for problem in status.problems
        if problem.code not in _REPORTED_BY_QUEUE_CHECKS
        and (not problem.rule or problem.rule in rule_names)
    ]
    codes = {problem.code for problem in found}
    if "no_lane" not in codes:
        yield passed(Check.LANES, f"{_count(status.lanes_alive, 'lane')} alive")
    if "no_poller" not in codes and any(queue.enabled for queue in status.queues):
        yield passed(Check.POLLERS, f"{_count(status.pollers_alive, 'poller')} alive")
    for problem in found:
        yield _from_status(problem)
    if codes <= _CHECK_OF_PROBLEM.keys():
        yield passed(Check.STATUS, "nothing waits for a person")


def check_notification_targets() -> Findings:
    """Check that each enabled target can send; nothing is sent."""
    for target in NotificationTarget.objects.filter(enabled=True):
        try:
            found = ", ".join(services(target.credential_profile))
            yield passed(Check.TARGETS, f"{target.name} is notified by {found}")
        except Unsendable as error:
            yield warned(
                Check.TARGETS,
                f"{target.name} can't be notified: {error}",
                fix="Mount the file or set the variable for clusters and web servers; then send a "
                f"test message: `manage.py notify --test {target.name}`.",
            )


def _check_database() -> Findings:
    major, minor = divmod(int(getattr(connection, "pg_version", 0)), 10_000)
    name = connection.settings_dict["NAME"]
    if major < _OLDEST_POSTGRESQL:
        yield failed(
            Check.DATABASE,
            f"the database {name} is on PostgreSQL {major}, which s3sync does not support",
            fix=f"Upgrade PostgreSQL to {_OLDEST_POSTGRESQL} or later.",
        )
        return
    way = ", through a pooler: docs/guides/pgbouncer.md" if is_pooled(connection) else ""
    yield passed(Check.DATABASE, f"{name} is reachable, PostgreSQL {major}.{minor}{way}")
    connection.ensure_connection()
    session = connection.connection.info
    if risk := _risk_on_the_way(
        session.hostaddr,
        has_tls=session.pgconn.ssl_in_use,
        sslmode=session.get_parameters().get("sslmode", "prefer"),
    ):
        yield warned(
            Check.DATABASE,
            f"between this host and {session.hostaddr}, {risk}",
            fix="Add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL, and switch TLS on in "
            "PostgreSQL (ssl = on).",
        )
    yield passed(Check.MIGRATIONS, "all are applied")


def _risk_on_the_way(address: str, *, has_tls: bool, sslmode: str) -> str:
    """What somebody between us and PostgreSQL could do; empty for nothing.

    Args:
        address: of the server; empty for a Unix socket.
        sslmode: libpq's; it checks whose server it is with verify-ca and verify-full alone.
    """
    if not address or ip_address(address).is_loopback:
        return ""
    if not has_tls:
        return "everything can be read and changed on the way: the connection has no TLS"
    if not sslmode.startswith("verify-"):
        return f"somebody could stand in for it: sslmode={sslmode} does not check whose it is"
    return ""


def _from_django(problem: CheckMessage) -> Finding:
    return failed(
        Check.SETTINGS,
        f"{problem.msg} ({problem.id})",
        fix=problem.hint or "Undo the change in s3sync/settings.py.",
    )


def _from_status(problem: Problem) -> Finding:
    check = _CHECK_OF_PROBLEM.get(problem.code)
    fix = _FIXES.get(problem.code, "docs/guides/operations.md says what to do.")
    if check is None:
        return warned(Check.STATUS, problem.detail, fix=fix)
    return Finding(Level.FAIL, check, problem.detail, fix)


def _count(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
