"""Whom to tell of what is wrong, the groups' rights to it, and the schedule that looks each minute."""

from importlib import import_module

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import replication.models.notifications
from django.db import migrations, models
from django.utils import timezone

SCHEDULE = "s3sync: tell people what is wrong"

groups = import_module("replication.migrations.0010_groups")


def create_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name=SCHEDULE,
        defaults={
            "func": "replication.tasks.notify",
            "schedule_type": "I",  # every n minutes
            "minutes": 1,
            "repeats": -1,
            "next_run": timezone.now(),
        },
    )


def delete_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name=SCHEDULE).delete()


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0011_signed_calls'),
    ]

    operations = [
        migrations.CreateModel(
            name='Condition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for long'), ('not_running', 'no lane or no poller is alive')], max_length=12, verbose_name='what')),
                ('rule', models.CharField(blank=True, max_length=63, verbose_name='rule')),
                ('queue', models.CharField(blank=True, max_length=63, verbose_name='queue')),
                ('detail', models.TextField(verbose_name='as last seen')),
                ('closing', models.TextField(blank=True, verbose_name='how it ended')),
                ('worst_lag_seconds', models.FloatField(null=True, verbose_name='at worst behind by seconds')),
                ('began_at', models.DateTimeField(verbose_name='since')),
                ('confirmed_at', models.DateTimeField(null=True, verbose_name='confirmed at')),
                ('told_at', models.DateTimeField(null=True, verbose_name='first told at')),
                ('last_told_at', models.DateTimeField(null=True, verbose_name='last told at')),
                ('closed_at', models.DateTimeField(null=True, verbose_name='over at')),
                ('closing_told_at', models.DateTimeField(null=True, verbose_name='its end was told at')),
            ],
            options={
                'verbose_name': 'notification condition',
                'verbose_name_plural': 'notification conditions',
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='NotificationTarget',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=63, unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9-]*$', 'Use lower-case letters, digits and hyphens; start with a letter or digit.')], verbose_name='name')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('credential_profile', models.CharField(help_text="Where the addresses are found, which hold secrets and are never kept in the database: the file notify_urls of the profile, or S3SYNC_PROFILE_…_NOTIFY_URLS, with apprise's URLs; docs/notifications.md has examples.", max_length=40, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9_]*$', 'Use lower-case letters, digits and underscores.')], verbose_name='credential profile')),
                ('kinds', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for long'), ('not_running', 'no lane or no poller is alive')], max_length=12), default=replication.models.notifications.usual_kinds, size=None, verbose_name='tell of')),
                ('failures_at_least', models.PositiveIntegerField(default=10, validators=[django.core.validators.MinValueValidator(1)], verbose_name='jobs failed')),
                ('failures_minutes', models.PositiveIntegerField(default=5, validators=[django.core.validators.MinValueValidator(1)], verbose_name='… within minutes')),
                ('lag_seconds', models.PositiveIntegerField(default=900, help_text='The age of the oldest change that is not served yet.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='seconds behind')),
                ('lag_minutes', models.PositiveIntegerField(default=5, verbose_name='… for minutes')),
                ('silence_hours', models.PositiveIntegerField(default=24, help_text='Of a queue, or of the Lambda function once it was heard from.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='hours without an event')),
                ('remind_hours', models.PositiveIntegerField(default=6, help_text='What is still wrong is told again so often; 0: never.', verbose_name='remind after hours')),
                ('claimed_until', models.DateTimeField(editable=False, null=True)),
                ('last_told_at', models.DateTimeField(editable=False, null=True, verbose_name='last told')),
                ('last_error', models.TextField(db_default='', editable=False, verbose_name='last error')),
                ('last_error_at', models.DateTimeField(editable=False, null=True, verbose_name='last error at')),
                ('errors_in_a_row', models.PositiveIntegerField(db_default=0, editable=False)),
                ('try_again_at', models.DateTimeField(editable=False, null=True, verbose_name='tried again at')),
            ],
            options={
                'verbose_name': 'notification target',
                'verbose_name_plural': 'notification targets',
                'ordering': ['name'],
                'permissions': [('operate_notificationtarget', 'Can send test messages')],
            },
        ),
        migrations.RemoveConstraint(
            model_name='auditentry',
            name='audit_action_is_known',
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('jobs_retried', 'retried jobs'), ('jobs_cancelled', 'cancelled jobs'), ('rules_paused', 'paused rules'), ('rules_resumed', 'resumed rules'), ('deletes_confirmed', 'confirmed deletes'), ('looked_again', 'had keys looked at again'), ('letters_replayed', 'replayed dead letters'), ('letters_deleted', 'deleted dead letters'), ('token_created', 'made an API token'), ('tokens_revoked', 'revoked API tokens'), ('targets_tested', 'sent test messages'), ('added', 'added'), ('changed', 'changed'), ('deleted', 'deleted')], max_length=20, verbose_name='did what'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['jobs_retried', 'jobs_cancelled', 'rules_paused', 'rules_resumed', 'deletes_confirmed', 'looked_again', 'letters_replayed', 'letters_deleted', 'token_created', 'tokens_revoked', 'targets_tested', 'added', 'changed', 'deleted'])), name='audit_action_is_known'),
        ),
        migrations.AddField(
            model_name='notificationtarget',
            name='rules',
            field=models.ManyToManyField(blank=True, help_text='Of these rules alone; none chosen: of all. Queues are told of anyway.', to='replication.replicationrule', verbose_name='rules'),
        ),
        migrations.AddField(
            model_name='condition',
            name='target',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='conditions', to='replication.notificationtarget', verbose_name='target'),
        ),
        migrations.AddIndex(
            model_name='condition',
            index=models.Index(condition=models.Q(('closed_at__isnull', False), ('closing_told_at__isnull', True)), fields=['target'], name='condition_to_tell'),
        ),
        migrations.AddIndex(
            model_name='condition',
            index=models.Index(condition=models.Q(('closed_at__isnull', False)), fields=['closed_at'], name='condition_closed'),
        ),
        migrations.AddConstraint(
            model_name='condition',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['failures', 'lag', 'parked', 'braked', 'dead_letters', 'queue', 'no_events', 'not_running'])), name='condition_kind_is_known'),
        ),
        migrations.AddConstraint(
            model_name='condition',
            constraint=models.UniqueConstraint(condition=models.Q(('closed_at__isnull', True)), fields=('target', 'kind', 'rule', 'queue'), name='condition_open_once'),
        ),
        migrations.RunPython(groups.make_groups, groups.leave_groups),
        migrations.RunPython(create_schedule, delete_schedule),
    ]
