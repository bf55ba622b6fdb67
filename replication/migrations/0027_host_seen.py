"""A host without lanes is seen where its credentials are refused."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0026_rule_created_at'),
    ]

    operations = [
        migrations.AddField(
            model_name='circuit',
            name='host_seen_at',
            field=models.DateTimeField(null=True, verbose_name='host last seen'),
        ),
    ]
