"""What each bucket takes beyond what OSS documents, forgotten with a new endpoint or bucket.

The columns are written by the service, so they raise no version of a rule.
"""

from django.db import migrations, models

_RAISE_VERSIONS = """
CREATE OR REPLACE FUNCTION replication_raise_versions_of_destination()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    written_by_the_service CONSTANT text[] := ARRAY[{columns}];
BEGIN
    IF to_jsonb(NEW) - written_by_the_service <> to_jsonb(OLD) - written_by_the_service THEN
        UPDATE replication_replicationrule SET version = version + 1 WHERE destination_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
"""

_BEFORE = """'throttled_until', 'width', 'width_at', 'requests_paced_until', 'bytes_paced_until'"""
_NOW = _BEFORE + """, 'takes_non_ascii_metadata', 'takes_non_ascii_tags', 'learned_at'"""

_FORGET = """
CREATE FUNCTION replication_forget_capabilities() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.takes_non_ascii_metadata := 'unknown';
    NEW.takes_non_ascii_tags := 'unknown';
    NEW.learned_at := NULL;
    RETURN NEW;
END $$;

CREATE TRIGGER forget_capabilities BEFORE UPDATE ON replication_destination
    FOR EACH ROW WHEN ((OLD.endpoint, OLD.bucket) IS DISTINCT FROM (NEW.endpoint, NEW.bucket))
    EXECUTE FUNCTION replication_forget_capabilities();
"""

_NO_FORGETTING = """
DROP TRIGGER forget_capabilities ON replication_destination;
DROP FUNCTION replication_forget_capabilities();
"""


class Migration(migrations.Migration):

    dependencies = [("replication", "0021_circuits")]

    operations = [
        migrations.AddField(
            model_name="destination",
            name="takes_non_ascii_metadata",
            field=models.CharField(choices=[("unknown", "not known yet"), ("yes", "yes"), ("no", "no")], db_default="unknown", editable=False, max_length=8, verbose_name="takes user metadata beyond ASCII"),
        ),
        migrations.AddField(
            model_name="destination",
            name="takes_non_ascii_tags",
            field=models.CharField(choices=[("unknown", "not known yet"), ("yes", "yes"), ("no", "no")], db_default="unknown", editable=False, max_length=8, verbose_name="takes tags beyond ASCII"),
        ),
        migrations.AddField(
            model_name="destination",
            name="learned_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="learned at"),
        ),
        migrations.RunSQL(_RAISE_VERSIONS.format(columns=_NOW), _RAISE_VERSIONS.format(columns=_BEFORE)),
        migrations.RunSQL(_FORGET, _NO_FORGETTING),
    ]
