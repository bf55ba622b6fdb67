"""When each rule was made."""

import django.db.models.functions.datetime
from django.db import migrations, models


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
    ]
