"""A process that operates the sweeps as people and the API do: a command a line, an answer a line.

A process of its own, because Django is configured once in a process, and because starting one for
each command would cost seconds.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import django


def main() -> None:
    """Answer each command on stdin; None if the database did not answer."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "s3sync.settings")
    django.setup()
    from django.conf import settings
    from django.db import Error, connection

    from s3sync.postgresql.base import give_up_statements_after

    give_up_statements_after(settings.S3SYNC.statement_seconds)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = _commands()[name](**arguments)
        except Error:
            connection.close()
            answer = None
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _commands() -> dict[str, Callable[..., Any]]:
    from replication.cluster import loops
    from replication.models import UNENDED, LoopKind, ReplicationRule, Sweep, SweepKind
    from replication.sweep import lifecycle

    def start(*, instead_of_scrubs: bool = False, **options: Any) -> list[int]:
        """Start a sweep of each rule that has none; returns their ids."""
        others = Sweep.objects.filter(state__in=UNENDED)
        if instead_of_scrubs:
            others = others.exclude(kind=SweepKind.SCRUB)
        idle = ReplicationRule.objects.exclude(pk__in=others.values("rule"))
        started = []
        for rule in idle.select_related("source"):
            with suppress(lifecycle.CantStart):  # a cluster has just started its scrub
                started.append(lifecycle.start(rule, **options).pk)
        return started

    def carry_on() -> bool:
        """What a timer does each minute: have sweeps carried on, if there are any."""
        if not lifecycle.is_due():
            return False
        return loops.request(LoopKind.SWEEPER)

    def end_early() -> int:
        return lifecycle.cancel(Sweep.objects.all(), why="A person has cancelled it.")

    def is_told() -> bool:
        """Whether sweeps that ended early have nothing more to tell."""
        return not lifecycle.ended_early().exists()

    def states() -> dict[str, str]:
        """The state of each sweep, by its id, with what is wrong."""
        return {str(one.pk): " ".join((one.state, one.error)) for one in Sweep.objects.all()}

    return {
        "start": start,
        "carry_on": carry_on,
        "pause": lambda: lifecycle.pause(Sweep.objects.all()),
        "resume": lambda: lifecycle.resume(Sweep.objects.filter(state="paused")),
        "cancel": end_early,
        "is_told": is_told,
        "states": states,
    }


if __name__ == "__main__":
    main()
