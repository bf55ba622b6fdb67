"""The uploads that OSS still has though their record was deleted, and the trigger that notes them.

Code of before can go on: what it inserts without a place gets the place of its destination, and
what it deletes is noted, also where the upload was completed. An abort of a completed upload does
nothing: OSS answers NoSuchUpload.
"""

from importlib import import_module

import django.db.models.functions.datetime
from django.db import migrations, models

groups = import_module("replication.migrations.0010_groups")

# A cluster of the version before inserts no place.
PLACE_OF_DESTINATION = """
CREATE FUNCTION replication_upload_takes_place_of_destination() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT endpoint, bucket, region, addressing, credential_profile
    INTO NEW.endpoint, NEW.bucket, NEW.region, NEW.addressing, NEW.credential_profile
    FROM replication_destination WHERE id = NEW.destination_id;
    RETURN NEW;
END $$;

CREATE TRIGGER upload_takes_place_of_destination
BEFORE INSERT ON replication_multipartupload
FOR EACH ROW WHEN (NEW.bucket = '')
EXECUTE FUNCTION replication_upload_takes_place_of_destination();
"""

# A trigger, because a row ends in many ways: a new upload of the key, a cascade, a shell.
NOTE_TO_ABORT = """
CREATE FUNCTION replication_note_upload_to_abort() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO replication_uploadtoabort
        (endpoint, bucket, region, addressing, credential_profile, destination_pk,
         destination_key, upload_id)
    VALUES
        (OLD.endpoint, OLD.bucket, OLD.region, OLD.addressing, OLD.credential_profile,
         OLD.destination_id, OLD.destination_key, OLD.upload_id)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER upload_to_abort_is_noted
AFTER DELETE ON replication_multipartupload
FOR EACH ROW WHEN (NOT OLD.is_completed)
EXECUTE FUNCTION replication_note_upload_to_abort();
"""

DROP_TRIGGERS = """
DROP TRIGGER upload_to_abort_is_noted ON replication_multipartupload;
DROP FUNCTION replication_note_upload_to_abort;
DROP TRIGGER upload_takes_place_of_destination ON replication_multipartupload;
DROP FUNCTION replication_upload_takes_place_of_destination;
"""

# A row for each upload under way: some hundreds at most.
FILL_PLACES = """
UPDATE replication_multipartupload AS upload
SET endpoint = destination.endpoint, bucket = destination.bucket, region = destination.region,
    addressing = destination.addressing, credential_profile = destination.credential_profile
FROM replication_destination AS destination WHERE destination.id = upload.destination_id
"""


def let_operators_delete(apps, schema_editor):
    """Give the groups what they may of the new list."""
    groups.make_groups(apps, schema_editor)
    permission = apps.get_model("auth", "Permission").objects.get(
        content_type__app_label="replication", codename="delete_uploadtoabort"
    )
    apps.get_model("auth", "Group").objects.get(name="Operator").permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0014_tokens_and_versions'),
    ]

    operations = [
        migrations.AddField(
            model_name='multipartupload',
            name='addressing',
            field=models.CharField(db_default='', max_length=16, verbose_name='addressing'),
        ),
        migrations.AddField(
            model_name='multipartupload',
            name='bucket',
            field=models.CharField(db_default='', max_length=63, verbose_name='bucket'),
        ),
        migrations.AddField(
            model_name='multipartupload',
            name='credential_profile',
            field=models.CharField(db_default='', max_length=40, verbose_name='credential profile'),
        ),
        migrations.AddField(
            model_name='multipartupload',
            name='endpoint',
            field=models.CharField(db_default='', max_length=255, verbose_name='endpoint'),
        ),
        migrations.AddField(
            model_name='multipartupload',
            name='is_completed',
            field=models.BooleanField(db_default=False, verbose_name='completed'),
        ),
        migrations.AddField(
            model_name='multipartupload',
            name='region',
            field=models.CharField(db_default='', max_length=40, verbose_name='region'),
        ),
        migrations.CreateModel(
            name='UploadToAbort',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('endpoint', models.CharField(db_default='', max_length=255, verbose_name='endpoint')),
                ('bucket', models.CharField(db_default='', max_length=63, verbose_name='bucket')),
                ('region', models.CharField(db_default='', max_length=40, verbose_name='region')),
                ('addressing', models.CharField(db_default='', max_length=16, verbose_name='addressing')),
                ('credential_profile', models.CharField(db_default='', max_length=40, verbose_name='credential profile')),
                ('destination_pk', models.BigIntegerField()),
                ('destination_key', models.TextField(db_collation='C', verbose_name='destination key')),
                ('upload_id', models.TextField(verbose_name='upload id')),
                ('noted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='noted')),
                ('tries', models.IntegerField(db_default=0, verbose_name='tries')),
                ('next_try_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='next try')),
                ('error_code', models.CharField(db_default='', max_length=32, verbose_name='last error')),
                ('error_detail', models.TextField(db_default='', verbose_name='what OSS answered')),
            ],
            options={
                'verbose_name': 'upload to abort',
                'verbose_name_plural': 'uploads to abort',
                'default_permissions': ('view', 'delete'),
                'indexes': [models.Index(fields=['next_try_at'], name='upload_to_abort_due')],
                'constraints': [models.UniqueConstraint(fields=('endpoint', 'bucket', 'destination_key', 'upload_id'), name='upload_to_abort_once')],
            },
        ),
        migrations.RunSQL(PLACE_OF_DESTINATION + NOTE_TO_ABORT, DROP_TRIGGERS),
        migrations.RunSQL(FILL_PLACES, migrations.RunSQL.noop),
        migrations.RunPython(let_operators_delete, groups.leave_groups),
    ]
