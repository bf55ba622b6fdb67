"""Makes the installation as it is before the upgrade, with the old code."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from sandbox.environment import Sandbox
from tests.upgrade import notes, rows
from tests.upgrade.installation import ALBUMS, ALL_PREFIXES, LIVE, Installation, rules_file
from tests.upgrade.rows import CARRIED
from tests.upgrade.watch import Watch

REAL_JOBS = 300


def copy_some(old: Installation, watch: Watch, *, unfinished_of_each: int) -> None:
    """Have an old cluster copy some objects; the objects of later unfinished jobs are there too."""
    sandbox = old.sandbox
    old.manage("applyrules", "-", stdin=rules_file(sandbox, [LIVE]))
    # No rule is for these yet, so that their messages make no jobs.
    unfinished = [
        f"{kind.prefix}{number}"
        for kind in rows.KINDS
        for number in range(1, unfinished_of_each + 1)
    ]
    _put(sandbox, unfinished + [f"{LIVE}real/{number}" for number in range(REAL_JOBS)])
    cluster = old.start_cluster()
    watch.until("objects are to be copied", lambda: REAL_JOBS - watch.count("outcome = 'copied'"))
    watch.until_no_work()
    cluster.stop(grace_seconds=60)


def fill(
    old: Installation, database: psycopg.Connection, *, jobs: int, unfinished_of_each: int
) -> None:
    """Fill the queue while no cluster runs, pause the rule of what is unfinished, and note all."""
    old.manage("applyrules", "-", stdin=rules_file(old.sandbox, ALL_PREFIXES))
    with old.api() as api:
        api.ask("POST", f"/api/v1/rules/{CARRIED.rstrip('/')}/pause")
    rules = database.execute("SELECT name || '/', id FROM replication_replicationrule")
    ids: dict[str, int] = dict(rules.fetchall())
    with rows.without_indexes(database):
        rows.insert_ended(database, jobs=jobs, rule_id=ids[ALBUMS])
        rows.insert_unfinished(database, of_each=unfinished_of_each, rule_id=ids[CARRIED])
    notes.begin(database)


def _put(sandbox: Sandbox, keys: Sequence[str]) -> None:
    s3 = sandbox.aws.client("s3")

    def put(key: str) -> None:
        s3.put_object(Bucket=sandbox.source_bucket, Key=key, Body=key.encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, keys))
