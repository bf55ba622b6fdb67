"""Fencing tokens that each claim raises, and versions of rules that the database raises.

A rule's version grows with each change of what an operator sets, whatever makes the change: the
admin, a rules file, the API, a shell. The columns that the service itself writes don't count. Lanes
hear of a change by NOTIFY.
"""

from django.db import migrations, models

RAISE_VERSIONS = """
CREATE FUNCTION replication_raise_rule_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written_by_the_service CONSTANT text[] := ARRAY['version', 'errors_in_a_row', 'parked_at',
        'parked_code', 'parked_detail', 'probe_at', 'braked_at'];
BEGIN
    -- A row that was read before the last change brings an old version along.
    NEW.version := GREATEST(NEW.version, OLD.version);
    IF to_jsonb(NEW) - written_by_the_service <> to_jsonb(OLD) - written_by_the_service THEN
        NEW.version := NEW.version + 1;
    END IF;
    IF NEW.version <> OLD.version THEN
        PERFORM pg_notify('s3sync_jobs', 'rules');
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER rule_version BEFORE UPDATE ON replication_replicationrule
    FOR EACH ROW EXECUTE FUNCTION replication_raise_rule_version();

CREATE FUNCTION replication_raise_versions_of_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE replication_replicationrule SET version = version + 1 WHERE source_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER source_version AFTER UPDATE ON replication_source
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION replication_raise_versions_of_source();

CREATE FUNCTION replication_raise_versions_of_destination() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written_by_the_service CONSTANT text[] := ARRAY['throttled_until', 'width', 'width_at',
        'requests_paced_until', 'bytes_paced_until'];
BEGIN
    IF to_jsonb(NEW) - written_by_the_service <> to_jsonb(OLD) - written_by_the_service THEN
        UPDATE replication_replicationrule SET version = version + 1 WHERE destination_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER destination_version AFTER UPDATE ON replication_destination
    FOR EACH ROW EXECUTE FUNCTION replication_raise_versions_of_destination();
"""

FORGET_VERSIONS = """
DROP TRIGGER destination_version ON replication_destination;
DROP TRIGGER source_version ON replication_source;
DROP TRIGGER rule_version ON replication_replicationrule;
DROP FUNCTION replication_raise_versions_of_destination();
DROP FUNCTION replication_raise_versions_of_source();
DROP FUNCTION replication_raise_rule_version();
"""


class Migration(migrations.Migration):

    dependencies = [("replication", "0013_texts")]

    operations = [
        migrations.AddField(
            model_name='replicationrule',
            name='version',
            field=models.BigIntegerField(db_default=1, editable=False, verbose_name='version'),
        ),
        migrations.AddField(
            model_name='transferjob',
            name='ignores_filters',
            field=models.BooleanField(db_default=False, editable=False, help_text="A person asked for this key, whatever the rule's filters say.", verbose_name='ignores filters'),
        ),
        migrations.AddField(
            model_name='transferjob',
            name='token',
            field=models.IntegerField(db_default=0, editable=False, verbose_name='claims'),
        ),
        migrations.AlterField(
            model_name='transferjob',
            name='origin',
            field=models.CharField(choices=[('event', 'S3 event'), ('api', 'HTTP API'), ('admin', 'look again'), ('lost_lease', 'written after the lease was lost'), ('doubt', 'an earlier write may have landed late'), ('rule_changed', 'the rule was changed meanwhile')], max_length=12, verbose_name='origin'),
        ),
        migrations.AlterField(
            model_name='transferjob',
            name='outcome',
            field=models.CharField(choices=[('copied', 'copied'), ('unchanged', 'unchanged'), ('deleted', 'deleted'), ('skipped', 'skipped'), ('absent', 'absent'), ('unwanted', 'no longer asked for')], max_length=12, null=True, verbose_name='outcome'),
        ),
        migrations.RunSQL(RAISE_VERSIONS, FORGET_VERSIONS),
    ]
