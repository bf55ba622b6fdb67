"""The queue and the history part: what ends leaves the queue for a table partitioned by day.

Takes a moment, however many jobs there are: ended jobs that are in the queue now are moved by the
clusters, batch by batch, and the view `replication_job` shows a job wherever it is. Clusters of the
version before may go on: they end their jobs in the queue, from where they are moved, too. For
them, the queue keeps the columns, the constraint and the indexes of ended jobs.
"""

from datetime import UTC, datetime, timedelta

import django.db.models.deletion
from django.db import migrations, models

# What is in both tables, with the types of the queue.
_SHARED = {
    "id": "bigint NOT NULL",
    "rule_id": "bigint NOT NULL",
    "key": 'text COLLATE "C" NOT NULL',
    "state": "varchar(12) NOT NULL",
    "origin": "varchar(12) NOT NULL",
    "priority": "smallint NOT NULL",
    "attempt": "integer NOT NULL",
    "attempt_limit": "integer NOT NULL",
    "ignores_filters": "boolean NOT NULL DEFAULT false",
    "only_tags": "boolean NOT NULL DEFAULT false",
    "event_at": "timestamptz NOT NULL",
    "enqueued_at": "timestamptz NOT NULL",
    "available_at": "timestamptz NOT NULL",
    "started_at": "timestamptz",
    "finalized_at": "timestamptz NOT NULL",
    "write_in_doubt_until": "timestamptz",
    "delete_permit": "varchar(9) NOT NULL DEFAULT ''",
    "hold_reason": "varchar(10) NOT NULL DEFAULT ''",
    "size_bytes": "bigint",
    "error_code": "varchar(32) NOT NULL DEFAULT ''",
    "error_detail": "text NOT NULL DEFAULT ''",
    "outcome": "varchar(12)",
    "source_etag": "text NOT NULL DEFAULT ''",
    "source_version_id": "text NOT NULL DEFAULT ''",
    "source_crc64": "text NOT NULL DEFAULT ''",
    "source_request_id": "text NOT NULL DEFAULT ''",
    "source_checksum": "text NOT NULL DEFAULT ''",
    "destination_etag": "text NOT NULL DEFAULT ''",
    "destination_crc64": "text NOT NULL DEFAULT ''",
    "destination_request_id": "text NOT NULL DEFAULT ''",
    "remarks": "text NOT NULL DEFAULT ''",
}
_NAMES = ", ".join(_SHARED)

_HISTORY = f"""
CREATE TABLE replication_endedjob (
    {", ".join(f"{name} {kind}" for name, kind in _SHARED.items())},
    rule_version bigint,
    tries jsonb,
    CONSTRAINT ended_job_has_ended CHECK (state IN ('completed', 'cancelled', 'superseded')),
    CONSTRAINT ended_job_has_an_outcome_exactly_when_completed
        CHECK ((state = 'completed') = (outcome IS NOT NULL))
) PARTITION BY RANGE (finalized_at);

-- Not a primary key: `pg_restore --clean` fails to drop those of partitions.
CREATE UNIQUE INDEX ended_job_id ON replication_endedjob (id, finalized_at);
-- lists by the end of jobs
CREATE INDEX ended_job_at ON replication_endedjob (finalized_at, id);
-- lists of the few that were not completed
CREATE INDEX ended_job_dropped ON replication_endedjob (finalized_at, id)
    WHERE state IN ('cancelled', 'superseded');
-- the jobs of a key or of a prefix, the last one of a key first
CREATE INDEX ended_job_key ON replication_endedjob (key, finalized_at);

CREATE TABLE replication_endedjob_default PARTITION OF replication_endedjob DEFAULT;

CREATE VIEW replication_job AS
SELECT {_NAMES}, NULL::bigint AS rule_version, NULL::jsonb AS tries, lease_expires_at, claimed_by
FROM replication_transferjob
UNION ALL
SELECT {_NAMES}, rule_version, tries, NULL::timestamptz, NULL::uuid
FROM replication_endedjob;
"""

_NO_HISTORY = f"""
INSERT INTO replication_transferjob ({_NAMES}) SELECT {_NAMES} FROM replication_endedjob;
INSERT INTO replication_transferattempt
    (job_id, number, started_at, ended_at, code, detail, request_id)
SELECT job.id, one.* FROM replication_endedjob AS job, jsonb_to_recordset(job.tries) AS one
    (number int, started_at timestamptz, ended_at timestamptz, code text, detail text,
     request_id text);
DROP VIEW replication_job;
DROP TABLE replication_endedjob;
"""

# A table of short-lived rows: vacuumed often and fast, with room on each page for new versions of
# its rows, and never truncated, which would lock it.
_QUEUE = """
ALTER TABLE replication_transferjob
    ALTER COLUMN source_etag SET DEFAULT '',
    ALTER COLUMN source_version_id SET DEFAULT '',
    ALTER COLUMN source_crc64 SET DEFAULT '',
    ALTER COLUMN source_request_id SET DEFAULT '',
    ALTER COLUMN destination_etag SET DEFAULT '',
    ALTER COLUMN destination_crc64 SET DEFAULT '',
    ALTER COLUMN destination_request_id SET DEFAULT '';
ALTER TABLE replication_transferjob SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
ALTER TABLE replication_transferattempt SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);
"""

_NO_QUEUE = """
ALTER TABLE replication_transferjob RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold,
    autovacuum_vacuum_cost_delay, vacuum_truncate);
ALTER TABLE replication_transferattempt RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
"""

_KEEP_VERSIONS = """
CREATE FUNCTION replication_keep_rule_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO replication_ruleversion
        (rule_id, version, made_at, rule_columns, source_columns, destination_columns)
    SELECT NEW.id, NEW.version, now(),
           to_jsonb(NEW) - ARRAY['version', 'errors_in_a_row', 'parked_at', 'parked_code',
                                 'parked_detail', 'probe_at', 'braked_at'],
           to_jsonb(source),
           to_jsonb(destination) - ARRAY['throttled_until', 'width', 'width_at',
               'requests_paced_until', 'bytes_paced_until', 'takes_non_ascii_metadata',
               'takes_non_ascii_tags', 'learned_at']
    FROM replication_source AS source, replication_destination AS destination
    WHERE source.id = NEW.source_id AND destination.id = NEW.destination_id
    ON CONFLICT (rule_id, version) DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER rule_version_made AFTER INSERT ON replication_replicationrule
    FOR EACH ROW EXECUTE FUNCTION replication_keep_rule_version();
CREATE TRIGGER rule_version_raised AFTER UPDATE ON replication_replicationrule
    FOR EACH ROW WHEN (OLD.version <> NEW.version)
    EXECUTE FUNCTION replication_keep_rule_version();

-- The versions of today: nothing changes but what the trigger sees.
INSERT INTO replication_ruleversion
    (rule_id, version, made_at, rule_columns, source_columns, destination_columns)
SELECT rule.id, rule.version, now(),
       to_jsonb(rule) - ARRAY['version', 'errors_in_a_row', 'parked_at', 'parked_code',
                              'parked_detail', 'probe_at', 'braked_at'],
       to_jsonb(source),
       to_jsonb(destination) - ARRAY['throttled_until', 'width', 'width_at',
           'requests_paced_until', 'bytes_paced_until', 'takes_non_ascii_metadata',
           'takes_non_ascii_tags', 'learned_at']
FROM replication_replicationrule AS rule
JOIN replication_source AS source ON source.id = rule.source_id
JOIN replication_destination AS destination ON destination.id = rule.destination_id;
"""

_FORGET_VERSIONS = """
DROP TRIGGER rule_version_raised ON replication_replicationrule;
DROP TRIGGER rule_version_made ON replication_replicationrule;
DROP FUNCTION replication_keep_rule_version();
"""


def make_first_days(apps, schema_editor):
    """Make the days until a cluster makes the next ones."""
    today = datetime.now(UTC).date()
    for day in (today + timedelta(days=number) for number in range(-1, 8)):
        schema_editor.execute(
            f"CREATE TABLE replication_endedjob_{day:%Y%m%d} PARTITION OF replication_endedjob "
            f"FOR VALUES FROM ('{day}T00:00:00Z') TO ('{day + timedelta(days=1)}T00:00:00Z')"
        )


class Migration(migrations.Migration):

    dependencies = [("replication", "0033_slices_split_at_several_keys")]

    operations = [
        # Rather fail than have all lanes wait behind a lock that somebody holds for long.
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.RunSQL(
            _HISTORY,
            _NO_HISTORY,
            state_operations=[
                migrations.CreateModel(
                    name="EndedJob",
                    fields=[("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))],
                    options={"db_table": "replication_endedjob", "managed": False, "default_permissions": ()},
                ),
                migrations.CreateModel(
                    name="Job",
                    fields=[("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))],
                    options={"verbose_name": "job", "verbose_name_plural": "jobs", "db_table": "replication_job", "managed": False, "default_permissions": ()},
                ),
            ],
        ),
        migrations.RunPython(make_first_days, migrations.RunPython.noop),
        migrations.RunSQL(
            _QUEUE,
            _NO_QUEUE,
            state_operations=[
                migrations.RemoveConstraint(model_name="transferjob", name="job_has_an_outcome_exactly_when_completed"),
                migrations.RemoveIndex(model_name="transferjob", name="job_completed"),
                migrations.RemoveIndex(model_name="transferjob", name="job_dropped"),
                *(
                    migrations.RemoveField(model_name="transferjob", name=name)
                    for name in ("outcome", "source_etag", "source_version_id", "source_crc64", "source_request_id", "source_checksum", "destination_etag", "destination_crc64", "destination_request_id", "remarks")
                ),
            ],
        ),
        # Without it, a longer lease is a new version of the row on its page, and in no index.
        migrations.RemoveIndex(model_name="transferjob", name="job_lease"),
        migrations.AlterField(
            model_name="transferjob",
            name="error_code",
            field=models.CharField(db_default="", max_length=32, verbose_name="error"),
        ),
        migrations.AlterField(
            model_name="transferjob",
            name="error_detail",
            field=models.TextField(db_default="", verbose_name="error detail"),
        ),
        migrations.AlterField(
            model_name="transferjob",
            name="rule",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="replication.replicationrule", verbose_name="rule"),
        ),
        migrations.AlterField(
            model_name="transferattempt",
            name="job",
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name="attempts", to="replication.transferjob", verbose_name="job"),
        ),
        migrations.CreateModel(
            name="RuleVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.BigIntegerField(verbose_name="version")),
                ("made_at", models.DateTimeField(verbose_name="made at")),
                ("rule_columns", models.JSONField()),
                ("source_columns", models.JSONField()),
                ("destination_columns", models.JSONField()),
                ("rule", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="versions", to="replication.replicationrule")),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="ruleversion",
            constraint=models.UniqueConstraint(fields=("rule", "version"), name="rule_version_kept_once"),
        ),
        migrations.RunSQL(_KEEP_VERSIONS, _FORGET_VERSIONS),
    ]
