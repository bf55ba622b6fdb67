"""Starts the recovery of a database that lost its last commits: a restored backup, or a failover.

The database is of the past, the buckets are not. Whoever worked with the lost commits must not go
on as if they were still there, and both buckets of each rule are compared as a whole.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import F, Max

from replication.cluster import loops
from replication.jobs.fencing import fence_off_claims
from replication.jobs.waking import JOBS_CHANNEL
from replication.models import (
    Heartbeat,
    Job,
    ReplicationRule,
    SourceKind,
    Sweep,
    SweepKind,
    SweepState,
)
from replication.sweep import lifecycle

# More rows and edits than a lost day can have had.
LOST_ROWS = 1_000_000_000
LOST_EDITS = 1_000

GAVE_WAY = "It gave way to the recovery of the database."


def remembered_until() -> datetime | None:
    """The last moment of which the database knows; None if it knows of no job and no cluster."""
    last_job = Job.objects.order_by("-pk").values_list("enqueued_at", flat=True).first()
    last_beat = Heartbeat.objects.aggregate(at=Max("beat_at"))["at"]
    return max(filter(None, (last_job, last_beat)), default=None)


def where_clusters_run() -> list[str]:
    """Where lanes, pollers and sweepers run.

    A lane of before has no heartbeat in the restored database, but it listens for jobs.
    """
    if hosts := loops.hosts_alive():
        return sorted(hosts)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT coalesce(host(client_addr), 'the host of the database')
            FROM pg_stat_activity
            WHERE datname = current_database() AND query = %s
            """,
            [f"LISTEN {JOBS_CHANNEL}"],
        )
        return sorted(place for (place,) in cursor.fetchall())


def why_not(rule: ReplicationRule) -> str:
    """Why the rule can't be recovered now, and what to do; empty if it can."""
    if rule.source.kind != SourceKind.S3:
        return (
            "its source is a web server, which has no listing. Have its events sent again, or put "
            f"the keys that changed into a file: `manage.py verify {rule.name} --keys FILE "
            "--enqueue`."
        )
    if not rule.enabled:
        return "it is disabled."
    if rule.paused_at is not None:
        return (
            f"it is paused. Resume it, and run `manage.py reconcile {rule.name} --mend "
            "--mend-extras`."
        )
    return ""


def under_way(rules: Iterable[ReplicationRule]) -> list[Sweep]:
    """The recoveries of these rules that have not ended, and do not wait for a person."""
    return list(
        Sweep.objects.filter(
            rule__in=list(rules),
            kind=SweepKind.RECOVERY,
            state__in=[SweepState.RUNNING, SweepState.SETTLING],
        ).select_related("rule")
    )


@transaction.atomic
def start(rules: Sequence[ReplicationRule], *, since: datetime, **options: Any) -> list[Sweep]:
    """Fence off the past, and start the recovery of each rule, in place of any other sweep of it.

    No cluster may run. What changed at the source `since` then is mended first.

    Raises:
        CantStart: a rule can't be swept, and none is.
    """
    _fence_off()
    started = []
    for rule in rules:
        lifecycle.cancel(Sweep.objects.filter(rule=rule), why=GAVE_WAY)
        started.append(
            lifecycle.start(rule, SweepKind.RECOVERY, mends=True, since=since, **options)
        )
    return started


def _fence_off() -> None:
    """Give out no number of a row, token of a claim or version of a rule for a second time."""
    fence_off_claims()
    ReplicationRule.objects.update(version=F("version") + LOST_EDITS)
    with connection.cursor() as cursor:
        for model in apps.get_app_config("replication").get_models():
            if isinstance(model._meta.pk, models.AutoField) and not model._meta.proxy:
                cursor.execute(
                    """
                    SELECT setval(numbers, nextval(numbers) + %s)
                    FROM CAST(pg_get_serial_sequence(%s, %s) AS regclass) AS numbers
                    """,
                    [LOST_ROWS, model._meta.db_table, model._meta.pk.column],
                )
