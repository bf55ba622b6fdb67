"""Who the users of single sign-on are at their provider."""

from importlib import import_module

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def note_changes(apps, schema_editor):
    import_module("replication.migrations.0038_changes").make_triggers(apps, schema_editor)


def show_to_groups(apps, schema_editor):
    import_module("replication.migrations.0010_groups").make_groups(apps, schema_editor)


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0042_tokens_end'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SignOnIdentity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(max_length=500, verbose_name='issuer')),
                ('subject', models.CharField(max_length=255, verbose_name='subject')),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='sign_on', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'identity of single sign-on',
                'verbose_name_plural': 'identities of single sign-on',
                'default_permissions': ('view',),
                'constraints': [models.UniqueConstraint(fields=('issuer', 'subject'), name='sign_on_identity_once')],
            },
        ),
        migrations.RunPython(note_changes, migrations.RunPython.noop),
        migrations.RunPython(show_to_groups, migrations.RunPython.noop),
    ]
