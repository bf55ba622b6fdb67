"""`manage.py recover`: makes all buckets equal again after the database lost its last commits."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.cluster.database import why_not_ready
from replication.cluster.loops import ALIVE_SECONDS
from replication.management.recovering import Recovered, unrecorded_uploads
from replication.management.rules import rule_named
from replication.management.sweeping import DIFFERENT, EQUAL, STATUSES, UNKNOWN, progress_line
from replication.models import ReplicationRule, Sweep, SweepKind, SweepState
from replication.operations import recovery
from replication.sweep.carrying import Carrier

TOLD_SECONDS = 10.0
LOOK_SECONDS = 1.0


class Command(BaseCommand):
    help = (
        "After a restore of the database, or a failover that lost commits: compares the buckets of "
        "each enabled rule, has what differs looked at by jobs, first what changed since the "
        "backup, and says what had been lost. Begin it while no cluster runs; start the clusters "
        f"when it says so. {STATUSES}"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=_moment,
            metavar="TIME",
            help="when the backup was made, as 2026-11-30T03:00:00Z (default: the last moment of "
            "which the database knows)",
        )
        parser.add_argument(
            "--rule", action="append", metavar="NAME", help="only this rule; may be repeated"
        )
        parser.add_argument(
            "--keep-extras",
            action="store_true",
            help="only report replicas whose objects are gone. Otherwise jobs delete those that "
            "the rule deletes. Left to a person if they are more than 1 %% or the source is empty",
        )
        parser.add_argument(
            "--rate", type=float, metavar="N", help="requests a second to each side, by rule"
        )
        parser.add_argument(
            "--settle",
            type=int,
            default=900,
            metavar="SECONDS",
            help="how long after a change a key is looked at once more (default: 900)",
        )
        parser.add_argument(
            "--abort-uploads",
            action="store_true",
            help="have unfinished uploads aborted that began since the backup where a rule writes, "
            "and that the database does not name. Otherwise they are only counted. Only if no "
            "other program uploads there",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if (not_ready := why_not_ready()) is not None:
            raise CommandError(not_ready.reason, returncode=UNKNOWN)
        chosen = [rule_named(name) for name in options["rule"] or []] or list(
            ReplicationRule.objects.filter(enabled=True)
            .select_related("source", "destination")
            .order_by("name")
        )
        left_out = {rule.name: why for rule in chosen if (why := recovery.why_not(rule))}
        rules = [rule for rule in chosen if rule.name not in left_out]
        for name, why in left_out.items():
            self.stderr.write(f"Rule {name} is left out: {why}")
        hosts = recovery.where_clusters_run()
        sweeps = recovery.under_way(rules) if hosts else []
        if sweeps:
            self.stderr.write("Going on with the recovery that is under way.")
        else:
            self._await_no_cluster()
            sweeps = self._start(rules, options)
        try:
            self._carry_on(sweeps)
        except KeyboardInterrupt:
            self.stderr.write("\nThe clusters go on. Run `manage.py recover` again to watch.")
            sys.exit(UNKNOWN)
        found = [
            Recovered(sweep, unrecorded_uploads(sweep, aborts=options["abort_uploads"]))
            for sweep in _latest(sweeps)
        ]
        self._report(found, left_out, is_json=options["json"])

    def _await_no_cluster(self) -> None:
        """Wait until the last heartbeats of a cluster that was killed just now are old.

        Raises:
            CommandError: clusters run.
        """
        until = time.monotonic() + ALIVE_SECONDS
        while hosts := recovery.where_clusters_run():
            if time.monotonic() > until:
                raise CommandError(_still_run(hosts), returncode=UNKNOWN)
            time.sleep(LOOK_SECONDS)

    def _start(self, rules: Sequence[ReplicationRule], options: dict[str, Any]) -> list[Sweep]:
        since = options["since"] or recovery.remembered_until()
        if since is None:
            raise CommandError(
                "The database knows of no job and of no cluster: is it the restored one? If it is, "
                "say with --since when the backup was made.",
                returncode=UNKNOWN,
            )
        sweeps = recovery.start(
            rules,
            since=since,
            mends_extras=not options["keep_extras"],
            requests_per_second=options["rate"],
            settle_seconds=options["settle"],
        )
        self.stderr.write(
            f"Rules to compare: {len(sweeps)}. Changes since {since:%Y-%m-%d %H:%M:%S} UTC are "
            "mended first. Start the clusters now: they copy what is found, and serve new events "
            "meanwhile."
        )
        return sweeps

    def _carry_on(self, sweeps: Sequence[Sweep]) -> None:
        """Compare beside the clusters, until every recovery has ended or waits for a person."""
        next_told = time.monotonic() + TOLD_SECONDS

        def tell() -> None:
            nonlocal next_told
            if time.monotonic() >= next_told:
                next_told = time.monotonic() + TOLD_SECONDS
                for sweep in _unended(sweeps):
                    self.stderr.write(f"{sweep.rule.name}: {progress_line(sweep)}")

        while _unended(sweeps):
            Carrier(should_stop=lambda: not _unended(sweeps), on_look=tell).run()
            tell()
            time.sleep(LOOK_SECONDS)

    def _report(
        self, found: Sequence[Recovered], left_out: dict[str, str], *, is_json: bool
    ) -> None:
        statuses = {one.status for one in found} | ({UNKNOWN} if left_out else set())
        status = max(statuses, default=EQUAL)
        if is_json:
            document = {
                "is_equal": {EQUAL: True, DIFFERENT: False}.get(status),
                "rules": [one.as_json() for one in found],
                "left_out": left_out,
            }
            self.stdout.write(json.dumps(document, indent=2))
        else:
            for one in found:
                for line in one.lines():
                    self.stdout.write(line)
        sys.exit(status)


def _latest(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The recoveries as they are now; one whose rule was edited has started anew."""
    rules = [sweep.rule_id for sweep in sweeps]
    latest = Sweep.objects.filter(kind=SweepKind.RECOVERY, rule__in=rules)
    latest = latest.order_by("rule__name", "-pk").distinct("rule__name")
    return list(latest.select_related("rule__source", "rule__destination"))


def _unended(sweeps: Sequence[Sweep]) -> list[Sweep]:
    carried_on = {SweepState.RUNNING, SweepState.SETTLING}
    return [sweep for sweep in _latest(sweeps) if sweep.state in carried_on]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _still_run(hosts: Sequence[str]) -> str:
    return (
        f"Clusters run on {', '.join(hosts)}. A lane that began before the restore may take new "
        "jobs for its own. Stop all clusters, pollers and web servers, and run this again; it says "
        "when to start them. If the database was not restored, compare with `manage.py reconcile "
        "RULE --mend`."
    )
