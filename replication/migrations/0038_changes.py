"""Each change of the configuration is kept with before and after, by triggers, and the audit is
append-only for a month."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models


# The service's own columns, and secrets: no change of them is kept.
LEFT_OUT = {
    "replication_source": (),
    "replication_sourcedomain": (),
    "replication_destination": (
        *("takes_non_ascii_metadata", "takes_non_ascii_tags", "learned_at", "throttled_until"),
        *("width", "width_at", "requests_paced_until", "bytes_paced_until"),
    ),
    "replication_replicationrule": (
        # Pauses have entries of their own.
        *("version", "paused_at", "parked_at", "parked_code", "parked_detail", "braked_at"),
        *("errors_in_a_row", "probe_at"),
    ),
    "replication_eventqueue": (
        *("messages_received", "records_unmatched", "last_message_at", "last_polled_at"),
        *("last_error", "last_error_at", "depth"),
    ),
    "replication_notificationtarget": (
        *("claimed_until", "last_told_at", "last_error", "last_error_at"),
        *("errors_in_a_row", "try_again_at"),
    ),
    "replication_notificationtarget_rules": (),
    "replication_apitoken": ("secret_sha256", "last_used_at"),
    "replication_apitoken_rules": (),
    "auth_permission": (),
    "auth_user": ("password", "last_login"),
    "replication_signonidentity": (),
    "auth_user_groups": (),
    "auth_user_user_permissions": (),
    "auth_group": (),
    "auth_group_permissions": (),
}

NOTE_CHANGES = """
CREATE FUNCTION replication_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    left_out text[] := coalesce(TG_ARGV, '{}');
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - left_out END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - left_out END;
    named jsonb := coalesce(becomes, was);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF was = becomes THEN
            RETURN NULL;
        END IF;
        SELECT jsonb_object_agg(key, value) INTO was FROM jsonb_each(was)
        WHERE value IS DISTINCT FROM becomes -> key;
        SELECT jsonb_object_agg(key, becomes -> key) INTO becomes FROM jsonb_each(was);
    END IF;
    -- By its schema: a temporary table of the same name must not get it.
    EXECUTE format(
        'INSERT INTO %I.replication_configurationchange '
        '(made_at, transaction, database_user, client, "table", "row", before, after) '
        'VALUES (now(), pg_current_xact_id()::text::bigint, session_user, $1, $2, $3, $4, $5)',
        TG_TABLE_SCHEMA)
    USING concat_ws(' ', host(inet_client_addr()),
                    nullif(current_setting('application_name'), '')),
          TG_TABLE_NAME,
          coalesce(named ->> 'name', named ->> 'domain', named ->> 'username', named ->> 'id'),
          was, becomes;
    RETURN NULL;
END $$;

CREATE FUNCTION replication_change_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Its entry is written in the same transaction.
    IF TG_OP = 'UPDATE' AND OLD.entry_id IS NULL
       AND OLD.transaction = pg_current_xact_id()::text::bigint
       AND to_jsonb(OLD) - 'entry_id' = to_jsonb(NEW) - 'entry_id' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.made_at < now() - interval '29 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit is append-only: its rows stay as they are for 30 days'
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION replication_entry_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An action that is over is counted no more; failed logins are counted in one entry.
    IF TG_OP = 'UPDATE' AND (OLD.ended_at IS NULL OR OLD.action LIKE 'login_%')
       AND to_jsonb(OLD) - ARRAY['ended_at', 'affected']
           = to_jsonb(NEW) - ARRAY['ended_at', 'affected'] THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.began_at < now() + interval '1 hour' AND isfinite(NEW.began_at) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.began_at < now() - interval '29 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit is append-only: its rows stay as they are for 30 days'
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON replication_configurationchange
    FOR EACH ROW EXECUTE FUNCTION replication_change_stays();
CREATE TRIGGER audit_stays BEFORE INSERT OR UPDATE OR DELETE ON replication_auditentry
    FOR EACH ROW EXECUTE FUNCTION replication_entry_stays();
"""
FORGET_CHANGES = """
DROP TRIGGER audit_stays ON replication_auditentry;
DROP TRIGGER audit_stays ON replication_configurationchange;
DROP FUNCTION replication_entry_stays();
DROP FUNCTION replication_change_stays();
DROP FUNCTION replication_note_change();
"""


def make_triggers(apps, schema_editor):
    """A migration that adds a column to one of these tables calls this once more."""
    drop_triggers(apps, schema_editor)
    with schema_editor.connection.cursor() as cursor:
        for table, left_out in _tables(cursor).items():
            cursor.execute(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = "
                "%s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL (%s)",
                [table, list(left_out)],
            )
            (columns,) = cursor.fetchone()
            arguments = ", ".join(f"'{name}'" for name in left_out)
            # Updates of other columns alone do not even call the function.
            cursor.execute(
                f"CREATE TRIGGER note_change AFTER INSERT OR DELETE OR UPDATE OF {columns} "
                f"ON {table} FOR EACH ROW EXECUTE FUNCTION replication_note_change({arguments})"
            )


def drop_triggers(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        for table in _tables(cursor):
            cursor.execute(f"DROP TRIGGER IF EXISTS note_change ON {table}")


def _tables(cursor):
    """Those of LEFT_OUT that there are: later migrations make some."""
    cursor.execute("SELECT t FROM unnest(%s::text[]) AS t WHERE to_regclass(t) IS NOT NULL", [[*LEFT_OUT]])
    there = {table for table, in cursor.fetchall()}
    return {table: left_out for table, left_out in LEFT_OUT.items() if table in there}


def show_to_groups(apps, schema_editor):
    import_module("replication.migrations.0010_groups").make_groups(apps, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0037_refused_connections'),
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='ConfigurationChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made_at', models.DateTimeField(verbose_name='made at')),
                ('transaction', models.BigIntegerField()),
                ('database_user', models.CharField(max_length=63, verbose_name='database user')),
                ('client', models.CharField(max_length=130, verbose_name='client of the database')),
                ('table', models.CharField(max_length=63, verbose_name='table')),
                ('row', models.TextField(verbose_name='row')),
                ('before', models.JSONField(null=True, verbose_name='before')),
                ('after', models.JSONField(null=True, verbose_name='after')),
                ('entry', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='changes', to='replication.auditentry', verbose_name='audit entry')),
            ],
            options={
                'verbose_name': 'change of the configuration',
                'verbose_name_plural': 'changes of the configuration',
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['made_at'], name='change_made')],
            },
        ),
        migrations.RunSQL(NOTE_CHANGES, FORGET_CHANGES),
        migrations.RunPython(make_triggers, drop_triggers),
        migrations.RunPython(show_to_groups, migrations.RunPython.noop),
    ]
