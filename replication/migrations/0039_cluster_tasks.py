"""Timers are code: their rows in django-q's table of schedules go, and they get one of ours.

A cluster of the version before still runs meanwhile. It then has no schedules, so what they asked
for waits until a cluster of this version is started.
"""

from importlib import import_module

from django.db import migrations, models

groups = import_module("replication.migrations.0010_groups")

SCHEDULED_BY = ("0002_schedule", "0003_schedule_prune", "0012_notifications")


def delete_schedules(apps, schema_editor):
    for name in SCHEDULED_BY:
        import_module(f"replication.migrations.{name}").delete_schedule(apps, schema_editor)


def create_schedules(apps, schema_editor):
    for name in SCHEDULED_BY:
        import_module(f"replication.migrations.{name}").create_schedule(apps, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0038_changes'),
    ]

    operations = [
        migrations.CreateModel(
            name='ClusterTask',
            fields=[
                ('name', models.CharField(max_length=63, primary_key=True, serialize=False, verbose_name='task')),
                ('due_at', models.DateTimeField(null=True, verbose_name='due again')),
                ('failed_at', models.DateTimeField(null=True, verbose_name='failed last')),
                ('failed_on', models.CharField(db_default='', max_length=255, verbose_name='host')),
                ('failure', models.TextField(db_default='', verbose_name='error')),
            ],
            options={
                'verbose_name': 'cluster task',
                'verbose_name_plural': 'cluster tasks',
                'default_permissions': ('view',),
            },
        ),
        migrations.RunPython(delete_schedules, create_schedules),
        migrations.RunPython(groups.make_groups, groups.leave_groups),
    ]
