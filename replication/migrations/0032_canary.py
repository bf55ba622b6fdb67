"""A rule may have a canary; targets that hear of queues hear of it too."""

import django.contrib.postgres.fields
import django.db.models.deletion
import replication.models.notifications
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0031_recovery'),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE replication_notificationtarget SET kinds = array_append(kinds, 'canary')"
            " WHERE 'queue' = ANY (kinds)",
            "UPDATE replication_notificationtarget SET kinds = array_remove(kinds, 'canary')",
        ),
        migrations.CreateModel(
            name='Canary',
            fields=[
                ('rule', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='last_canary', serialize=False, to='replication.replicationrule')),
                ('key', models.TextField(db_collation='C')),
                ('tried_at', models.DateTimeField()),
                ('put_at', models.DateTimeField(null=True)),
                ('failing_since', models.DateTimeField(null=True)),
                ('error_code', models.CharField(db_default='', max_length=32)),
                ('error_detail', models.TextField(db_default='')),
                ('queue_heard_at', models.DateTimeField(null=True)),
                ('queue_unheard_since', models.DateTimeField(null=True)),
                ('api_heard_at', models.DateTimeField(null=True)),
                ('api_unheard_since', models.DateTimeField(null=True)),
            ],
            options={
                'verbose_name': 'canary',
                'verbose_name_plural': 'canaries',
                'default_permissions': (),
            },
        ),
        migrations.RemoveConstraint(
            model_name='condition',
            name='condition_kind_is_known',
        ),
        migrations.AddField(
            model_name='replicationrule',
            name='canary',
            field=models.BooleanField(db_default=False, default=False, help_text='Every 5 minutes s3sync overwrites the object <source prefix>.s3sync-canary<source suffix> in the source bucket. If its event does not arrive, the status page says so within minutes. Needs s3:PutObject on that key; costs some 300 small PUTs a day, and a version each if the bucket keeps versions. The object stays when you switch this off.', verbose_name='put a canary at the source'),
        ),
        migrations.AlterField(
            model_name='condition',
            name='kind',
            field=models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for a long time'), ('canary', "a rule's canary fails"), ('credentials', "a host's credentials don't work"), ('not_running', 'no lane or no poller is alive')], max_length=12, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='notificationtarget',
            name='kinds',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for a long time'), ('canary', "a rule's canary fails"), ('credentials', "a host's credentials don't work"), ('not_running', 'no lane or no poller is alive')], max_length=12), default=replication.models.notifications.usual_kinds, size=None, verbose_name='notify of'),
        ),
        migrations.AddConstraint(
            model_name='condition',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['failures', 'lag', 'parked', 'braked', 'dead_letters', 'queue', 'no_events', 'canary', 'credentials', 'not_running'])), name='condition_kind_is_known'),
        ),
    ]
