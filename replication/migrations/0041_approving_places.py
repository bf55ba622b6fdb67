"""Who may use a credential profile with a place that is new to it, or make replicas public."""

from importlib import import_module

from django.db import migrations, models

from replication.models.access import AnyJson

groups = import_module("replication.migrations.0010_groups")

PLACES = ("source", "sourcedomain", "destination", "eventqueue")


def make_approvers(apps, schema_editor):
    """A group that may see everything, edit places, and approve what is new to a profile."""
    groups.make_groups(apps, schema_editor)
    Group = apps.get_model("auth", "Group")
    ours = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="replication"
    )
    approver, _ = Group.objects.get_or_create(name="Approver")
    approver.permissions.add(
        *ours.filter(codename__startswith="view_"),
        *ours.filter(codename__startswith="approve_"),
        *ours.filter(content_type__model__in=PLACES),
    )


class Migration(migrations.Migration):
    dependencies = [
        ("replication", "0040_logins_in_the_audit"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="destination",
            options={"ordering": ["name"], "permissions": [("approve_destination", "Can use credential profiles with new destinations")], "verbose_name": "destination", "verbose_name_plural": "destinations"},
        ),
        migrations.AlterModelOptions(
            name="eventqueue",
            options={"ordering": ["name"], "permissions": [("approve_eventqueue", "Can use credential profiles with new queues")], "verbose_name": "event queue", "verbose_name_plural": "event queues"},
        ),
        migrations.AlterModelOptions(
            name="source",
            options={"ordering": ["name"], "permissions": [("approve_source", "Can use credential profiles with new sources")], "verbose_name": "source", "verbose_name_plural": "sources"},
        ),
        migrations.AlterModelOptions(
            name="replicationrule",
            options={"ordering": ["name"], "permissions": [("operate_replicationrule", "Can pause, resume, look again, and confirm deletes of replication rules"), ("approve_replicationrule", "Can make replicas public")], "verbose_name": "replication rule", "verbose_name_plural": "replication rules"},
        ),
        migrations.AlterField(
            model_name="configurationchange",
            name="before",
            field=models.JSONField(decoder=AnyJson, null=True, verbose_name="before"),
        ),
        migrations.AlterField(
            model_name="configurationchange",
            name="after",
            field=models.JSONField(decoder=AnyJson, null=True, verbose_name="after"),
        ),
        migrations.RunPython(make_approvers, groups.leave_groups),
    ]
