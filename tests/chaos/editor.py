"""Edits the rules of a running service, each edit until it is acknowledged."""

import json
import threading
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from sandbox.child import StartError
from tests.chaos.rules import Edit, Rules
from tests.chaos.service import Service

AGAIN_SECONDS = 0.2


class Editor:
    """Makes the edits at their times, until all are made or `stop` is set.

    `rules` are the rules as they are now, and `states` all that they have been.
    """

    def __init__(
        self, service: Service, edits: list[Edit], rules: Rules, say: Callable[[str], None]
    ) -> None:
        self._service = service
        self._edits = edits
        self._say = say
        self.rules = rules
        self.states: list[Rules] = [rules]
        self._last_edit: dict[str, str] = {}  # by rule: when it was acknowledged, by the database

    def run(self, stop: threading.Event) -> None:
        started = time.monotonic()
        for edit in self._edits:
            if stop.wait(max(0.0, started + edit.at_seconds - time.monotonic())):
                return
            self.states.append(edit.rules)
            while not self._make(edit):
                if stop.wait(AGAIN_SECONDS):
                    return
            self.rules = edit.rules
            way = "applyrules" if edit.is_by_file else "update"
            self._say(f"edit by {way}: {edit.name}.{edit.field} = {json.dumps(edit.value)}")

    def keys_settled_since_the_last_edit(self, rule: str) -> set[str]:
        """The keys whose jobs ended after the rule was edited for the last time."""
        with psycopg.connect(self._service.sandbox.postgres.url) as database:
            rows = database.execute(
                "SELECT DISTINCT key FROM replication_job AS job "
                "JOIN replication_replicationrule AS rule ON rule.id = job.rule_id "
                "WHERE rule.name = %s AND job.finalized_at > %s::timestamptz",
                [rule, self._last_edit.get(rule, "-infinity")],
            ).fetchall()
        return {key for (key,) in rows}

    def _make(self, edit: Edit) -> bool:
        """Whether the edit was acknowledged."""
        try:
            if edit.is_by_file:
                self._service.apply(edit.rules)
            with psycopg.connect(
                self._service.sandbox.postgres.url, autocommit=True, connect_timeout=5
            ) as database:
                if not edit.is_by_file:
                    _update(database, edit)
                [now] = database.execute("SELECT clock_timestamp()::text").fetchone() or [""]
        except (psycopg.OperationalError, StartError):
            return False
        self._last_edit[edit.name] = now
        return True


def _update(database: psycopg.Connection, edit: Edit) -> None:
    """What an ORM's update does: no code of ours sees it, except the database's trigger."""
    column, value = sql.Identifier(edit.field), sql.SQL("%(value)s")
    if edit.field == "destination":
        column = sql.Identifier("destination_id")
        value = sql.SQL("(SELECT id FROM replication_destination WHERE name = %(value)s)")
    database.execute(
        sql.SQL("UPDATE replication_replicationrule SET {} = {} WHERE name = %(name)s").format(
            column, value
        ),
        {"value": edit.value, "name": edit.name},
    )
