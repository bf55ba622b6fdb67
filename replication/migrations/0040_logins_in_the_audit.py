"""Logins, logouts and changes of passwords are in the audit, with their addresses."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0039_cluster_tasks'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='auditentry',
            name='audit_action_is_known',
        ),
        migrations.AddField(
            model_name='auditentry',
            name='address',
            field=models.GenericIPAddressField(null=True, verbose_name='address'),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('jobs_retried', 'retried jobs'), ('jobs_cancelled', 'cancelled jobs'), ('rules_paused', 'paused rules'), ('rules_resumed', 'resumed rules'), ('deletes_confirmed', 'confirmed deletes'), ('looked_again', 'looked again at keys'), ('letters_replayed', 'replayed dead letters'), ('letters_deleted', 'deleted dead letters'), ('token_created', 'created an API token'), ('tokens_revoked', 'revoked API tokens'), ('targets_tested', 'sent test messages'), ('sweep_started', 'started a sweep'), ('sweeps_paused', 'paused sweeps'), ('sweeps_resumed', 'resumed sweeps'), ('sweeps_cancelled', 'cancelled sweeps'), ('sweeps_limited', 'changed the limits of sweeps'), ('logged_in', 'logged in'), ('logged_out', 'logged out'), ('login_failed', 'failed to log in'), ('login_refused', 'was refused a login'), ('password_changed', 'changed the own password'), ('added', 'added'), ('changed', 'changed'), ('deleted', 'deleted')], max_length=20, verbose_name='action'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(condition=models.Q(('action', 'logged_in')), fields=['actor', 'address'], name='audit_logins'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['jobs_retried', 'jobs_cancelled', 'rules_paused', 'rules_resumed', 'deletes_confirmed', 'looked_again', 'letters_replayed', 'letters_deleted', 'token_created', 'tokens_revoked', 'targets_tested', 'sweep_started', 'sweeps_paused', 'sweeps_resumed', 'sweeps_cancelled', 'sweeps_limited', 'logged_in', 'logged_out', 'login_failed', 'login_refused', 'password_changed', 'added', 'changed', 'deleted'])), name='audit_action_is_known'),
        ),
    ]
