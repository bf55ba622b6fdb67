"""Whether a rule is to copy what was in the bucket before it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0029_audit_sweeps'),
    ]

    operations = [
        migrations.AddField(
            model_name='replicationrule',
            name='backfill',
            field=models.BooleanField(db_default=False, default=False, help_text='Once: the first backfill of the rule starts by itself. Without it, only what changes from now on is copied.', verbose_name='copy what is there already'),
        ),
    ]
