"""API tokens end, and can be bound to rules; those that there are keep all rules and have no end."""

from importlib import import_module

from django.db import migrations, models


def note_changes(apps, schema_editor):
    import_module("replication.migrations.0038_changes").make_triggers(apps, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0041_approving_places'),
    ]

    operations = [
        migrations.AddField(
            model_name='apitoken',
            name='ends_at',
            field=models.DateTimeField(blank=True, help_text='Calls are refused from then on. Empty: the token has no end.', null=True, verbose_name='ends at'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='is_bound',
            field=models.BooleanField(db_default=False, default=False, editable=False, verbose_name='bound to rules'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='rules',
            field=models.ManyToManyField(blank=True, help_text='The token sees and touches these rules alone. None: all rules.', to='replication.replicationrule', verbose_name='rules'),
        ),
        migrations.RunPython(note_changes, migrations.RunPython.noop),
    ]
