"""Tell of a host whose credentials don't work, also those who chose to hear of parked rules."""

import django.contrib.postgres.fields
import replication.models.notifications
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0023_requester_pays'),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE replication_notificationtarget SET kinds = array_append(kinds, 'credentials')"
            " WHERE 'parked' = ANY (kinds)",
            "UPDATE replication_notificationtarget"
            " SET kinds = array_remove(kinds, 'credentials')",
        ),
        migrations.RemoveConstraint(
            model_name='condition',
            name='condition_kind_is_known',
        ),
        migrations.AlterField(
            model_name='condition',
            name='kind',
            field=models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for a long time'), ('credentials', "a host's credentials don't work"), ('not_running', 'no lane or no poller is alive')], max_length=12, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='notificationtarget',
            name='kinds',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('failures', 'many jobs fail'), ('lag', 'a rule is behind'), ('parked', 'a rule is parked'), ('braked', "a rule's deletes are braked"), ('dead_letters', 'new dead letters'), ('queue', "a queue can't be polled"), ('no_events', 'no event for a long time'), ('credentials', "a host's credentials don't work"), ('not_running', 'no lane or no poller is alive')], max_length=12), default=replication.models.notifications.usual_kinds, size=None, verbose_name='notify of'),
        ),
        migrations.AddConstraint(
            model_name='condition',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['failures', 'lag', 'parked', 'braked', 'dead_letters', 'queue', 'no_events', 'credentials', 'not_running'])), name='condition_kind_is_known'),
        ),
    ]
