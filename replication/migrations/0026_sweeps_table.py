"""Sweeps, and when each rule was made."""

from importlib import import_module

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

groups = import_module("replication.migrations.0010_groups")


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0025_sweeps'),
    ]

    operations = [
        migrations.AddField(
            model_name='replicationrule',
            name='created_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name='made'),
        ),
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('scrub', 'scrub: find what no event told of'), ('backfill', 'backfill: copy what was there before')], max_length=8, verbose_name='kind')),
                ('state', models.CharField(choices=[('running', 'running'), ('completed', 'completed'), ('cancelled', 'cancelled'), ('failed', 'failed')], default='running', max_length=9, verbose_name='state')),
                ('began_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='began')),
                ('ended_at', models.DateTimeField(null=True, verbose_name='ended')),
                ('rule_version', models.BigIntegerField()),
                ('cursor', models.TextField(db_default='', verbose_name='last key')),
                ('token', models.IntegerField(db_default=0)),
                ('held_until', models.DateTimeField(null=True)),
                ('error', models.TextField(db_default='', verbose_name='error')),
                ('source_keys', models.BigIntegerField(db_default=0, verbose_name='keys at the source')),
                ('replica_keys', models.BigIntegerField(db_default=0, verbose_name='keys at the destination')),
                ('source_requests', models.BigIntegerField(db_default=0, verbose_name='requests to S3')),
                ('destination_requests', models.BigIntegerField(db_default=0, verbose_name='requests to OSS')),
                ('equal', models.BigIntegerField(db_default=0, verbose_name='equal')),
                ('plausible', models.BigIntegerField(db_default=0, verbose_name='of these plausible')),
                ('missing', models.BigIntegerField(db_default=0, verbose_name='missing')),
                ('different', models.BigIntegerField(db_default=0, verbose_name='different')),
                ('extra', models.BigIntegerField(db_default=0, verbose_name='extra')),
                ('lost', models.BigIntegerField(db_default=0, verbose_name='changes that no event told of')),
                ('ordered', models.BigIntegerField(db_default=0, verbose_name='keys to be looked at')),
                ('findings', models.JSONField(default=list, verbose_name='first findings')),
                ('rule', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sweeps', to='replication.replicationrule', verbose_name='rule')),
            ],
            options={
                'verbose_name': 'sweep',
                'verbose_name_plural': 'sweeps',
                'default_permissions': ('view',),
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('rule', 'kind'), name='one_running_sweep_of_a_kind')],
            },
        ),
        migrations.RunPython(groups.make_groups, groups.leave_groups),
    ]
