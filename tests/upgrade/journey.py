"""One upgrade from its beginning to its report; see __main__.py."""

import random
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child
from sandbox.environment import Sandbox
from tests.chaos.oss_control import OssControl
from tests.chaos.verdict import source_contents
from tests.upgrade import before, migrating, notes, proofs
from tests.upgrade.installation import Installation, kill
from tests.upgrade.old_code import code_of
from tests.upgrade.rows import CARRIED, KINDS
from tests.upgrade.traffic import Traffic
from tests.upgrade.watch import Watch

SETTLE_SECONDS = 30.0  # after a kill, until traffic goes as before


@dataclass(frozen=True)
class Plan:
    """`calm_seconds` is how long each stretch without strikes lasts, whose figures are told."""

    commit: str
    jobs: int
    kills: int
    per_second: float
    calm_seconds: float
    seed: int

    @property
    def unfinished_of_each(self) -> int:
        return max(20, min(500, self.jobs // 200))


class Journey:
    """One upgrade; `stack` stops everything that it starts."""

    def __init__(self, plan: Plan, logs: Path, stack: ExitStack) -> None:
        self._plan = plan
        self._stack = stack
        self._chance = random.Random(plan.seed)
        root = stack.enter_context(code_of(plan.commit))
        self._sandbox = stack.enter_context(Sandbox())
        self._old = Installation("old", root, self._sandbox, logs)
        self._new = Installation("new", REPOSITORY, self._sandbox, logs)
        self._database = stack.enter_context(
            psycopg.connect(self._sandbox.postgres.url, autocommit=True)
        )
        self._watch = Watch(self._sandbox, self._database)
        self._say = self._watch.say

    def go(self) -> int:
        """Upgrade, and report; returns the exit status."""
        plan, watch = self._plan, self._watch
        self._say(f"seed {plan.seed}, {plan.jobs:,} jobs, from {plan.commit}")
        of_each = plan.unfinished_of_each
        self._old.manage("migrate", "--verbosity=0")
        before.copy_some(self._old, watch, unfinished_of_each=of_each)
        before.fill(self._old, self._database, jobs=plan.jobs, unfinished_of_each=of_each)
        self._say(f"{notes.ended(self._database):,} ended jobs are noted")
        with self._old.api() as api:
            told = proofs.told(api, proofs.sample(self._database, self._chance))
        self._say(f"the old API told {len(told)} jobs with their proofs and tries")
        old_cluster = self._cluster(self._old)
        with Traffic(self._sandbox, per_second=plan.per_second, seed=plan.seed) as traffic:
            watch.calm("old code", plan.calm_seconds)
            self._migrate()
            watch.calm("old cluster, new schema", plan.calm_seconds)
            self._replace(old_cluster)
            watch.calm("new cluster, nothing left to move", plan.calm_seconds)
        self._say(f"traffic made {traffic.changes} changes")
        with self._new.api() as api:
            api.ask("POST", f"/api/v1/rules/{CARRIED.rstrip('/')}/resume")
            watch.until_no_work()
            differences = proofs.differences(api, told)
        return self._conclude(differences)

    def _migrate(self) -> None:
        watch, began = self._watch, self._watch.now()
        for when, strike in (
            ("while it waited for a reader", migrating.kill_waiting),
            ("while it had the queue locked", migrating.kill_beginning),
        ):
            is_migrated = strike(lambda: self._new.start("migrate"), self._database)
            self._say(f"migrate was killed {when}: {'done' if is_migrated else 'nothing is done'}")
        watch.measure("migrate, killed twice", began, watch.now())
        began = watch.now()
        self._new.manage("migrate")
        watch.measure("migrate", began, watch.now())

    def _replace(self, old_cluster: Child) -> None:
        """Start the new cluster, stop the old one, and kill the new one while it moves jobs."""
        watch, database = self._watch, self._database
        cluster, began = self._cluster(self._new), self._watch.now()
        self._an_hour_passes()
        old_cluster.stop(grace_seconds=60)
        self._say("the old cluster has stopped")
        for number in range(self._plan.kills):
            days = notes.days_left(database) * self._chance.uniform(0.75, 0.95)
            self._until_moved(cluster, days)
            kill(cluster)
            self._say(f"kill {number + 1}: the new cluster, while it moved jobs")
            cluster = self._cluster(self._new)
            self._an_hour_passes()
        # The figures are of the time when traffic goes as before the kill.
        calm = watch.now() + SETTLE_SECONDS
        self._until_moved(cluster, 0)
        watch.until("other ended jobs are left", lambda: notes.are_left(database))
        ended = watch.now()
        self._say(f"all ended jobs were moved in {ended - began:.0f} s, with all kills")
        watch.measure("new cluster, moves jobs", min(calm, ended), ended)

    def _until_moved(self, cluster: Child, days: float) -> None:
        self._watch.until(
            "days of ended jobs are left",
            lambda: notes.days_left(self._database),
            at_most=days,
            unless_ended=cluster,
        )

    def _an_hour_passes(self) -> None:
        """Have the hourly clean-up run now."""
        self._database.execute(
            "UPDATE replication_clustertask SET due_at = now()"
            " WHERE name = 'replication.tasks.prune'"
        )

    def _cluster(self, installation: Installation) -> Child:
        cluster = installation.start_cluster()
        self._stack.callback(kill, cluster)
        return cluster

    def _conclude(self, of_api: list[str]) -> int:
        notes.end(self._database)
        self._say(f"comparing {notes.ended(self._database):,} ended jobs")
        found = notes.differences(self._database)
        for name, different in found.items():
            self._say(f"{len(different)} {name}, such as: {different[:3]}")
        for text in of_api[:10]:
            self._say(f"the API: {text}")
        unequal = self._unequal_keys()
        for key in unequal[:10]:
            self._say(f"unequal in the buckets: {key!r}")
        for each in self._watch.windows:
            self._say(f"{each}")
        self._say(self._sizes())
        self._say(f"differences={len(found)} of_api={len(of_api)} of_buckets={len(unequal)}")
        return 1 if found or of_api or unequal else 0

    def _unequal_keys(self) -> list[str]:
        staying = tuple(kind.prefix for kind in KINDS if not kind.is_carried_on)
        source = source_contents(self._sandbox)
        oss = OssControl(self._sandbox.oss.endpoint_url)
        replica = oss.contents(self._sandbox.destination_bucket)
        return sorted(
            key
            for key in source.keys() | replica.keys()
            if source.get(key) != replica.get(key) and not key.startswith(staying)
        )

    def _sizes(self) -> str:
        return str(
            self._watch.one(
                "SELECT format('the queue has %s and indexes of %s, the history has %s', "
                "pg_size_pretty(pg_table_size('replication_transferjob')), "
                "pg_size_pretty(pg_indexes_size('replication_transferjob')), "
                "pg_size_pretty(sum(pg_total_relation_size(inhrelid)))) "
                "FROM pg_inherits WHERE inhparent = 'replication_endedjob'::regclass"
            )
        )
