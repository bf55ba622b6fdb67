"""A slice can be asked for several splits at once; what was asked for is asked for again."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0032_canary'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='sweepslice',
            name='split_at',
        ),
        migrations.AddField(
            model_name='sweepslice',
            name='splits',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), db_default=[], size=None),
        ),
    ]
