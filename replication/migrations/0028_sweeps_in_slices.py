"""Sweeps, their slices and findings."""

from importlib import import_module

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

groups = import_module("replication.migrations.0010_groups")


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0027_host_seen'),
    ]

    operations = [
        migrations.AlterField(
            model_name='heartbeat',
            name='kind',
            field=models.CharField(choices=[('lane', 'lane'), ('poller', 'poller'), ('sweeper', 'sweeper')], max_length=8, verbose_name='kind'),
        ),
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('scrub', 'scrub: find what no event told of'), ('backfill', 'backfill: copy what was there before'), ('reconcile', 'reconcile: compare, and mend on request')], max_length=9, verbose_name='kind')),
                ('level', models.CharField(choices=[('listing', 'listing: a newer replica of the same size is taken for a copy'), ('records', 'records: our record of the last copy must have both ETags'), ('head', "head: the replica's provenance must name the object's ETag"), ('full', 'full: both sides are read and compared byte by byte')], db_default='listing', max_length=8, verbose_name='level')),
                ('prefix', models.TextField(blank=True, db_default='', verbose_name='prefix')),
                ('mends', models.BooleanField(db_default=False, verbose_name='mends missing and different keys')),
                ('mends_extras', models.BooleanField(db_default=False, verbose_name='mends extra keys')),
                ('state', models.CharField(choices=[('running', 'running'), ('settling', 'looking again'), ('paused', 'paused'), ('completed', 'completed'), ('cancelled', 'cancelled'), ('failed', 'failed')], db_default='running', max_length=9, verbose_name='state')),
                ('began_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='began')),
                ('listed_at', models.DateTimeField(null=True, verbose_name='all listed')),
                ('ended_at', models.DateTimeField(null=True, verbose_name='ended')),
                ('rule_version', models.BigIntegerField()),
                ('settle_seconds', models.IntegerField(db_default=900, verbose_name='seconds until the second look')),
                ('error', models.TextField(db_default='', verbose_name='error')),
                ('waits_for', models.TextField(db_default='', verbose_name='waits for')),
                ('requests_per_second', models.FloatField(blank=True, help_text='To each side, of all hosts together. Empty: as fast as possible.', null=True, validators=[django.core.validators.MinValueValidator(0.1)], verbose_name='requests a second')),
                ('window_from', models.TimeField(blank=True, help_text='UTC', null=True, verbose_name='from')),
                ('window_until', models.TimeField(blank=True, help_text='UTC', null=True, verbose_name='until')),
                ('most_requests', models.BigIntegerField(blank=True, help_text='To both sides together; the sweep pauses when they are spent.', null=True, verbose_name='budget of requests')),
                ('samples', models.JSONField(default=list)),
                ('sampled_at', models.DateTimeField(null=True)),
                ('paced_until', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('source_keys', models.BigIntegerField(db_default=0, verbose_name='keys at the source')),
                ('source_bytes', models.BigIntegerField(db_default=0, verbose_name='bytes at the source')),
                ('replica_keys', models.BigIntegerField(db_default=0, verbose_name='keys at the destination')),
                ('source_requests', models.BigIntegerField(db_default=0, verbose_name='requests to S3')),
                ('destination_requests', models.BigIntegerField(db_default=0, verbose_name='requests to OSS')),
                ('throttles', models.BigIntegerField(db_default=0, verbose_name='throttled')),
                ('equal', models.BigIntegerField(db_default=0, verbose_name='equal')),
                ('plausible', models.BigIntegerField(db_default=0, verbose_name='of these plausible')),
                ('missing', models.BigIntegerField(db_default=0, verbose_name='missing')),
                ('missing_bytes', models.BigIntegerField(db_default=0, verbose_name='bytes to copy')),
                ('different', models.BigIntegerField(db_default=0, verbose_name='different')),
                ('extra', models.BigIntegerField(db_default=0, verbose_name='extra')),
                ('left_out', models.BigIntegerField(db_default=0, verbose_name='left out by the filters')),
                ('refused', models.BigIntegerField(db_default=0, verbose_name='refused by OSS')),
                ('archived', models.BigIntegerField(db_default=0, verbose_name='archived')),
                ('unknown', models.BigIntegerField(db_default=0, verbose_name='could not be compared')),
                ('under_way', models.BigIntegerField(db_default=0, verbose_name='with a job under way')),
                ('kept', models.BigIntegerField(db_default=0, verbose_name='kept though deleted at the source')),
                ('foreign', models.BigIntegerField(db_default=0, verbose_name='of other programs or rules')),
                ('ordered', models.BigIntegerField(db_default=0, verbose_name='keys that jobs look at')),
                ('ordered_unkept', models.BigIntegerField(db_default=0, verbose_name='of these without a finding')),
                ('lost', models.BigIntegerField(db_default=0, verbose_name='changes that no event told of')),
                ('found_again', models.BigIntegerField(db_default=0, verbose_name='equal at the second look')),
                ('unkept_findings', models.BigIntegerField(db_default=0, verbose_name='findings beyond the kept ones')),
                ('rule', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sweeps', to='replication.replicationrule', verbose_name='rule')),
            ],
            options={
                'verbose_name': 'sweep',
                'verbose_name_plural': 'sweeps',
                'permissions': [('operate_sweep', 'Can start, pause and cancel sweeps')],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='SweepFinding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.TextField(db_collation='C', verbose_name='key')),
                ('verdict', models.CharField(max_length=9, verbose_name='verdict')),
                ('reason', models.TextField(db_default='', verbose_name='reason')),
                ('cause', models.CharField(db_default='', max_length=16, verbose_name='cause')),
                ('code', models.CharField(db_default='', max_length=32, verbose_name='error of the last job')),
                ('state', models.CharField(choices=[('seen', 'seen once'), ('confirmed', 'confirmed by a second look'), ('mended', 'mended'), ('gone', 'equal at the second look')], db_default='seen', max_length=9, verbose_name='state')),
                ('is_ordered', models.BooleanField(db_default=False, verbose_name='a job looks at it')),
                ('source_size', models.BigIntegerField(null=True, verbose_name='bytes at the source')),
                ('source_etag', models.TextField(db_default='', verbose_name='ETag at the source')),
                ('source_modified', models.TextField(db_default='', verbose_name='changed at the source')),
                ('replica_size', models.BigIntegerField(null=True, verbose_name='bytes at the destination')),
                ('replica_etag', models.TextField(db_default='', verbose_name='ETag at the destination')),
                ('replica_modified', models.TextField(db_default='', verbose_name='changed at the destination')),
                ('found_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='found')),
                ('look_at', models.DateTimeField(null=True)),
                ('looks', models.IntegerField(db_default=0)),
                ('sweep', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='findings', to='replication.sweep')),
            ],
            options={
                'verbose_name': 'finding',
                'verbose_name_plural': 'findings',
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='SweepSlice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('after_key', models.TextField(db_collation='C', db_default='')),
                ('until_key', models.TextField(db_collation='C', null=True)),
                ('split_at', models.TextField(db_collation='C', db_default='')),
                ('cursor', models.TextField(db_collation='C', db_default='')),
                ('is_done', models.BooleanField(db_default=False)),
                ('failures', models.IntegerField(db_default=0)),
                ('error', models.TextField(db_default='')),
                ('token', models.IntegerField(db_default=0)),
                ('held_until', models.DateTimeField(null=True)),
                ('held_by', models.TextField(db_default='')),
                ('keys', models.BigIntegerField(db_default=0)),
                ('pages', models.BigIntegerField(db_default=0)),
                ('sweep', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slices', to='replication.sweep')),
            ],
            options={
                'verbose_name': 'slice of a sweep',
                'verbose_name_plural': 'slices of sweeps',
                'default_permissions': (),
            },
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ('running', 'settling', 'paused'))), fields=('rule',), name='one_sweep_of_a_rule_at_a_time'),
        ),
        migrations.AddIndex(
            model_name='sweepfinding',
            index=models.Index(condition=models.Q(('state', 'seen')), fields=['sweep', 'look_at'], name='finding_due'),
        ),
        migrations.AddConstraint(
            model_name='sweepfinding',
            constraint=models.UniqueConstraint(fields=('sweep', 'key'), name='one_finding_of_a_key'),
        ),
        migrations.AddIndex(
            model_name='sweepslice',
            index=models.Index(condition=models.Q(('is_done', False)), fields=['sweep', 'id'], name='slice_open'),
        ),
        migrations.RunPython(groups.make_groups, groups.leave_groups),
    ]
