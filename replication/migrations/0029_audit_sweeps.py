"""What people do to sweeps is in the audit."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0028_sweeps_in_slices'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='auditentry',
            name='audit_action_is_known',
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('jobs_retried', 'retried jobs'), ('jobs_cancelled', 'cancelled jobs'), ('rules_paused', 'paused rules'), ('rules_resumed', 'resumed rules'), ('deletes_confirmed', 'confirmed deletes'), ('looked_again', 'looked again at keys'), ('letters_replayed', 'replayed dead letters'), ('letters_deleted', 'deleted dead letters'), ('token_created', 'created an API token'), ('tokens_revoked', 'revoked API tokens'), ('targets_tested', 'sent test messages'), ('sweep_started', 'started a sweep'), ('sweeps_paused', 'paused sweeps'), ('sweeps_resumed', 'resumed sweeps'), ('sweeps_cancelled', 'cancelled sweeps'), ('sweeps_limited', 'changed the limits of sweeps'), ('added', 'added'), ('changed', 'changed'), ('deleted', 'deleted')], max_length=20, verbose_name='action'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['jobs_retried', 'jobs_cancelled', 'rules_paused', 'rules_resumed', 'deletes_confirmed', 'looked_again', 'letters_replayed', 'letters_deleted', 'token_created', 'tokens_revoked', 'targets_tested', 'sweep_started', 'sweeps_paused', 'sweeps_resumed', 'sweeps_cancelled', 'sweeps_limited', 'added', 'changed', 'deleted'])), name='audit_action_is_known'),
        ),
    ]
