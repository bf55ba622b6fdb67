"""What `backfill` and `reconcile` share: options, the work, the progress and the report."""

import datetime
import gc
import json
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from replication.cluster.database import why_not_ready
from replication.management.rules import rule_named
from replication.models import (
    FindingState,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepLevel,
    SweepState,
)
from replication.sweep import lifecycle, reporting
from replication.sweep.carrying import Carrier
from replication.sweep.causes import MEANING, Cause
from replication.sweep.progress import progress_of

EQUAL, DIFFERENT, UNKNOWN = range(3)  # exit statuses
TOLD_SECONDS = 0.5  # between two lines of progress in a terminal
TOLD_SECONDS_IN_LOGS = 30.0

STATUSES = (
    "Ends with status 0 if both sides are equal, 1 if they differ, and 2 if that could not be "
    "found out."
)


def add_options(parser: CommandParser) -> None:
    """Add the options of a sweep."""
    parser.add_argument("rule", metavar="RULE", help="the rule's name")
    parser.add_argument("--prefix", default="", help="only keys that begin with this")
    parser.add_argument(
        "--level",
        type=SweepLevel,
        choices=list(SweepLevel),
        default=SweepLevel.LISTING,
        metavar="{" + ",".join(SweepLevel) + "}",
        help="how far to go where the listings make a key only plausibly equal: not at all; to "
        "our records; to a HEAD of the replica; or read both sides of every key",
    )
    parser.add_argument(
        "--rate", type=float, metavar="N", help="requests a second to each side, of all hosts"
    )
    parser.add_argument(
        "--window",
        type=_window,
        metavar="FROM-UNTIL",
        help="only between these times of the day, in UTC: 22:00-06:00",
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="pause when so many requests are spent"
    )
    parser.add_argument(
        "--settle",
        type=int,
        default=settings.S3SYNC.sweep_settle_seconds,
        metavar="SECONDS",
        help="how long after a change, or after it was found missing, a key is looked at once "
        "more before it is called a difference (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--detach", action="store_true", help="start, and leave all of the work to the cluster"
    )


def run(command: BaseCommand, kind: SweepKind, options: dict[str, Any], **more: Any) -> int:
    """Start a sweep and carry it on, beside the clusters, until its end. Returns the exit status.

    Raises:
        CommandError: with exit status 2, the sweep can't start.
    """
    if (not_ready := why_not_ready()) is not None:
        raise CommandError(not_ready.reason, returncode=UNKNOWN)
    rule = rule_named(options["rule"])
    window = options["window"] or (None, None)
    try:
        sweep = lifecycle.start(
            rule,
            kind,
            prefix=options["prefix"],
            level=options["level"],
            requests_per_second=options["rate"],
            window_from=window[0],
            window_until=window[1],
            most_requests=options["requests"],
            settle_seconds=options["settle"],
            **more,
        )
    except lifecycle.CantStart as error:
        raise CommandError(str(error), returncode=UNKNOWN) from error
    if options["detach"]:
        command.stdout.write(
            f"Sweep {sweep.pk} ({kind} of rule {rule.name}) begins now, if a cluster runs. Follow "
            f"it with `manage.py sweeps`, end it with `manage.py sweeps --cancel {sweep.pk}`."
        )
        return EQUAL
    gc.freeze()  # a garbage collection need not go through all of Django for each page
    told = _Told(command, sweep)
    try:
        Carrier(should_stop=told.is_over, sweep_id=sweep.pk, gives_up=True, on_look=told.tell).run()
    except DatabaseError as error:
        raise CommandError(
            f"the database failed: {error}\nThe clusters go on with sweep {sweep.pk} as soon as it "
            "is back. `manage.py sweeps` shows how far it is.",
            returncode=UNKNOWN,
        ) from error
    except KeyboardInterrupt:
        command.stderr.write(
            f"\nThe clusters go on with sweep {sweep.pk}. End it with `manage.py sweeps --cancel "
            f"{sweep.pk}`."
        )
        return UNKNOWN
    sweep = Sweep.objects.select_related("rule__source", "rule__destination").get(pk=sweep.pk)
    return _report(command, sweep, is_json=options["json"])


def _window(text: str) -> tuple[datetime.time, datetime.time]:
    began, _, until = text.partition("-")
    return datetime.time.fromisoformat(began), datetime.time.fromisoformat(until)


class _Told:
    """Shows the progress of a sweep on stderr."""

    def __init__(self, command: BaseCommand, sweep: Sweep) -> None:
        self._command = command
        self._sweep = sweep
        self._is_terminal = sys.stderr.isatty()
        self._every = TOLD_SECONDS if self._is_terminal else TOLD_SECONDS_IN_LOGS
        self._next = time.monotonic() + self._every

    def is_over(self) -> bool:
        """Whether the sweep has ended, or waits for a person."""
        now = Sweep.objects.values_list("state", flat=True).get(pk=self._sweep.pk)
        return now not in {SweepState.RUNNING, SweepState.SETTLING}

    def tell(self) -> None:
        """Show how far the sweep is, if that is due."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        line = progress_line(Sweep.objects.get(pk=self._sweep.pk))
        self._command.stderr.write(f"\r\033[K{line}" if self._is_terminal else line, ending="")
        self._command.stderr.write("" if self._is_terminal else "\n", ending="")


def progress_line(sweep: Sweep) -> str:
    """One line of progress, with a bar if it is known how many keys there are."""
    now = progress_of(sweep)
    bar = ""
    if now.share is not None:
        filled = round(20 * now.share)
        bar = f"[{'#' * filled}{'.' * (20 - filled)}] {now.share:4.0%} "
    rate = f", {now.rate_1:,.0f} keys/s" if now.rate_1 else ""
    eta = (
        f", {now.eta_seconds[0] / 60:.0f} to {now.eta_seconds[1] / 60:.0f} min left"
        if now.eta_seconds
        else ""
    )
    waits = f", waits for {sweep.waits_for}" if sweep.waits_for else ""
    if sweep.state == SweepState.SETTLING:
        left = sweep.findings.filter(state=FindingState.SEEN).count()
        waits += f", {left:,} to look at again"
    jobs = f", {now.waiting_jobs + now.running_jobs:,} being copied" if sweep.mends else ""
    error = f", last error: {sweep.error}" if sweep.error else ""
    return (
        f"{bar}{sweep.source_keys:,} keys listed, {sweep.differ:,} differ{jobs}{rate}{eta}{waits}"
        f"{error}"
    )


def _report(command: BaseCommand, sweep: Sweep, *, is_json: bool) -> int:
    if sys.stderr.isatty():
        command.stderr.write("\r\033[K", ending="")
    open_differences = reporting.open_differences(sweep)
    if is_json:
        document = reporting.as_json(sweep) | {
            "differences": open_differences,
            "findings": [reporting.finding_as_json(one) for one in sweep.findings.order_by("key")],
        }
        command.stdout.write(json.dumps(document, indent=2))
    else:
        for one in sweep.findings.exclude(state=FindingState.GONE).order_by("key").iterator():
            command.stdout.write(finding_line(one))
        command.stdout.write(summary(sweep, open_differences))
    if sweep.state != SweepState.COMPLETED:
        command.stderr.write(
            f"The comparison is {sweep.get_state_display()}: {sweep.error or sweep.waits_for}"
        )
        return UNKNOWN
    if sweep.unknown:
        command.stderr.write(f"{sweep.unknown:,} keys could not be compared.")
        return UNKNOWN
    return DIFFERENT if open_differences else EQUAL


def finding_line(one: SweepFinding) -> str:
    """A finding in words."""
    why = "; ".join(
        filter(None, [MEANING[Cause(one.cause)] if one.cause else "", one.code, one.reason])
    )
    mended = " [mended]" if one.state == FindingState.MENDED else ""
    return f"{one.verdict:9}  {one.key!r}{': ' if why else ''}{why}{mended}"


def summary(sweep: Sweep, open_differences: int) -> str:
    """The counts of a sweep in words."""
    seen = {name: getattr(sweep, name) for name in reporting.COUNTS[:12]}
    counts = ", ".join(
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in seen.items()
        if number and name != "plausible"
    )
    plausible = (
        f" {sweep.plausible:,} of the equal ones are plausible, not proved: --level head proves "
        "them."
        if sweep.plausible
        else ""
    )
    lost = f" {sweep.lost:,} changes had no event." if sweep.lost else ""
    cost = reporting.cost(sweep)
    return (
        f"{sweep.source_keys:,} keys at the source, {sweep.replica_keys:,} at the destination: "
        f"{counts or 'none'}.{plausible}{lost} {open_differences:,} differences. Requests: "
        f"{sweep.source_requests:,} to S3 (US$ {cost['source_usd']:.4f} at list prices), "
        f"{sweep.destination_requests:,} to OSS (CNY {cost['destination_cny']:.4f})."
    )
