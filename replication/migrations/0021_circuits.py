"""Circuits take the place of the counts of errors that parked rules. What is parked stays parked."""

import django.contrib.postgres.fields
from django.db import migrations, models


PARKED_RULES = """
INSERT INTO replication_circuit (scope, side, place, host, failed_keys, first_failed_at, code, detail,
    opened_at, probe_at)
SELECT 'rule', CASE WHEN parked_code LIKE 'source_%' THEN 'source' ELSE 'destination' END, id::text,
    '', '{}', parked_at, parked_code, parked_detail, parked_at, now()
FROM replication_replicationrule WHERE parked_at IS NOT NULL
"""


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0020_fault_codes'),
    ]

    operations = [
        migrations.CreateModel(
            name='Circuit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('rule', 'rule'), ('bucket', 'bucket'), ('endpoint', 'endpoint'), ('profile', 'credential profile on a host')], max_length=8, verbose_name='scope')),
                ('side', models.CharField(choices=[('source', 'source'), ('destination', 'destination')], max_length=11, verbose_name='side')),
                ('place', models.TextField(verbose_name='place')),
                ('host', models.CharField(blank=True, default='', max_length=255, verbose_name='host')),
                ('failed_keys', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None)),
                ('first_failed_at', models.DateTimeField(null=True, verbose_name='first failed at')),
                ('code', models.CharField(max_length=32, verbose_name='error')),
                ('detail', models.TextField(default='', verbose_name='error detail')),
                ('opened_at', models.DateTimeField(null=True, verbose_name='open since')),
                ('probe_at', models.DateTimeField(null=True, verbose_name='next probe at')),
                ('closed_at', models.DateTimeField(null=True, verbose_name='closed at')),
            ],
            options={
                'verbose_name': 'circuit',
                'verbose_name_plural': 'circuits',
                'constraints': [models.UniqueConstraint(fields=('scope', 'side', 'place', 'host'), name='circuit_is_unique'), models.CheckConstraint(condition=models.Q(models.Q(('opened_at__isnull', True), ('probe_at__isnull', True)), models.Q(('first_failed_at__isnull', False), ('opened_at__isnull', False), ('probe_at__isnull', False)), _connector='OR'), name='circuit_is_probed_exactly_while_open')],
            },
        ),
        migrations.RunSQL(PARKED_RULES, migrations.RunSQL.noop),
        migrations.RemoveField(
            model_name='replicationrule',
            name='errors_in_a_row',
        ),
        migrations.RemoveField(
            model_name='replicationrule',
            name='probe_at',
        ),
    ]
