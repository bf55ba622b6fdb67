"""Jobs that a comparison of both buckets asks for."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0024_credentials_condition'),
    ]

    operations = [
        migrations.AddField(
            model_name='completedminute',
            name='swept_jobs',
            field=models.IntegerField(db_default=0, verbose_name='jobs of comparisons'),
        ),
        migrations.AlterField(
            model_name='transferjob',
            name='origin',
            field=models.CharField(choices=[('event', 'S3 event'), ('api', 'HTTP API'), ('admin', 'look again'), ('lost_lease', 'written after the lease was lost'), ('doubt', 'an earlier write may have landed late'), ('rule_changed', 'the rule was changed meanwhile'), ('sweep', 'a comparison of both buckets')], max_length=12, verbose_name='origin'),
        ),
    ]
