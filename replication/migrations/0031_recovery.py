"""Sweeps after a restore of the database."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0030_rule_backfill'),
    ]

    operations = [
        migrations.AddField(
            model_name='sweep',
            name='since',
            field=models.DateTimeField(null=True, verbose_name='changes since then are mended first'),
        ),
        migrations.AlterField(
            model_name='sweep',
            name='kind',
            field=models.CharField(choices=[('scrub', 'scrub: find what no event told of'), ('backfill', 'backfill: copy what was there before'), ('reconcile', 'reconcile: compare, and mend on request'), ('recovery', 'recovery: mend what a restored database does not know of')], max_length=9, verbose_name='kind'),
        ),
    ]
