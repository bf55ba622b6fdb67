"""The groups Viewer and Operator; docs/access.md says what they may.

A migration that adds a model calls `make_groups` once more.
"""

from django.apps import apps as todays_apps
from django.contrib.auth.management import create_permissions
from django.db import migrations

# What an operator sets up; the service writes the rest.
CONFIGURATION = {
    *("source", "sourcedomain", "destination", "replicationrule", "eventqueue"),
    "notificationtarget",
}


def make_groups(apps, schema_editor):
    """Give both groups what they may of all models there are; what was added by hand stays."""
    Permission = apps.get_model("auth", "Permission")
    Group = apps.get_model("auth", "Group")
    # Django makes them after the last migration only.
    create_permissions(todays_apps.get_app_config("replication"), verbosity=0, apps=apps)
    ours = Permission.objects.filter(content_type__app_label="replication")
    views = ours.filter(codename__startswith="view_")
    operations = ours.filter(codename__startswith="operate_")
    configuration = ours.filter(content_type__model__in=CONFIGURATION).exclude(
        codename__startswith="approve_"  # for the group of 0041
    )
    viewer, _ = Group.objects.get_or_create(name="Viewer")
    viewer.permissions.add(*views)
    operator, _ = Group.objects.get_or_create(name="Operator")
    operator.permissions.add(
        *views, *operations, *configuration, *ours.filter(codename="delete_deadletter")
    )


def leave_groups(apps, schema_editor):
    """People are in them; without their permissions they let nobody do anything."""


class Migration(migrations.Migration):
    dependencies = [
        ("replication", "0009_totals"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_groups, leave_groups)]
