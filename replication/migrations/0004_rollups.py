"""The minutes of completed jobs, filled for the last day; and the numbers of waiting jobs from
their index alone."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

# LAG_BOUNDS_SECONDS as they were when this was written.
FILL = """
    INSERT INTO replication_completedminute (rule_id, minute, jobs, copied_bytes, lag_counts)
    SELECT rule_id, minute, sum(jobs), sum(copied_bytes),
           ARRAY(SELECT coalesce(sum(same.jobs), 0)::int
                 FROM generate_series(0, 49) AS number
                 LEFT JOIN unnest(array_agg(bucket), array_agg(jobs)) AS same (bucket, jobs)
                        ON same.bucket = number
                 GROUP BY number ORDER BY number)
    FROM (SELECT rule_id, date_trunc('minute', finalized_at) AS minute,
                 width_bucket(extract(epoch FROM finalized_at - event_at)::float8, bounds.seconds)
                     AS bucket,
                 count(*) AS jobs,
                 coalesce(sum(size_bytes) FILTER (WHERE outcome = 'copied'), 0) AS copied_bytes
          FROM replication_transferjob,
               (SELECT array_agg(0.05 * 2 ^ (number::float8 / 2) ORDER BY number) AS seconds
                FROM generate_series(0, 48) AS number) AS bounds
          WHERE state = 'completed' AND finalized_at > now() - interval '1 day'
          GROUP BY 1, 2, 3) AS counted
    GROUP BY rule_id, minute
"""


class Migration(migrations.Migration):
    dependencies = [("replication", "0003_schedule_prune")]
    operations = [
        migrations.CreateModel(
            name='CompletedMinute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('minute', models.DateTimeField(verbose_name='minute')),
                ('jobs', models.IntegerField(verbose_name='jobs')),
                ('copied_bytes', models.BigIntegerField(verbose_name='bytes copied')),
                ('lag_counts', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), size=None, verbose_name='jobs by lag')),
                ('rule', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='completed_minutes', to='replication.replicationrule')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.AddConstraint(
            model_name='completedminute',
            constraint=models.UniqueConstraint(fields=('minute', 'rule'), name='completed_minute_once_per_rule'),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name='transferjob', name='job_due'),
        migrations.AddIndex(
            model_name='transferjob',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['rule', 'priority', 'available_at'], include=('event_at', 'attempt'), name='job_due'),
        ),
    ]
