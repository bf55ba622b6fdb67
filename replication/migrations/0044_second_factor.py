"""Recovery codes, and the second factor in the audit."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0043_single_sign_on'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='RecoveryCode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(editable=False, max_length=64)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'recovery code',
                'verbose_name_plural': 'recovery codes',
                'default_permissions': (),
            },
        ),
        migrations.RemoveConstraint(
            model_name='auditentry',
            name='audit_action_is_known',
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('jobs_retried', 'retried jobs'), ('jobs_cancelled', 'cancelled jobs'), ('rules_paused', 'paused rules'), ('rules_resumed', 'resumed rules'), ('deletes_confirmed', 'confirmed deletes'), ('looked_again', 'looked again at keys'), ('letters_replayed', 'replayed dead letters'), ('letters_deleted', 'deleted dead letters'), ('token_created', 'created an API token'), ('tokens_revoked', 'revoked API tokens'), ('targets_tested', 'sent test messages'), ('sweep_started', 'started a sweep'), ('sweeps_paused', 'paused sweeps'), ('sweeps_resumed', 'resumed sweeps'), ('sweeps_cancelled', 'cancelled sweeps'), ('sweeps_limited', 'changed the limits of sweeps'), ('logged_in', 'logged in'), ('logged_out', 'logged out'), ('login_failed', 'failed to log in'), ('login_refused', 'was refused a login'), ('password_changed', 'changed the own password'), ('factor_set', 'set up a second factor'), ('factor_removed', 'removed second factors'), ('recovery_used', 'used a recovery code'), ('added', 'added'), ('changed', 'changed'), ('deleted', 'deleted')], max_length=20, verbose_name='action'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=models.Q(('action__in', ['jobs_retried', 'jobs_cancelled', 'rules_paused', 'rules_resumed', 'deletes_confirmed', 'looked_again', 'letters_replayed', 'letters_deleted', 'token_created', 'tokens_revoked', 'targets_tested', 'sweep_started', 'sweeps_paused', 'sweeps_resumed', 'sweeps_cancelled', 'sweeps_limited', 'logged_in', 'logged_out', 'login_failed', 'login_refused', 'password_changed', 'factor_set', 'factor_removed', 'recovery_used', 'added', 'changed', 'deleted'])), name='audit_action_is_known'),
        ),
    ]
