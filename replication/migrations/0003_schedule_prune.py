"""The schedule that deletes old history, and nothing that an operator would edit."""

from django.db import migrations
from django.utils import timezone


def create_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name="s3sync: prune the history",
        defaults={
            "func": "replication.tasks.prune",
            "schedule_type": "H",  # hourly
            "repeats": -1,
            "next_run": timezone.now(),
        },
    )


def delete_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name="s3sync: prune the history").delete()


class Migration(migrations.Migration):
    dependencies = [("replication", "0002_schedule")]
    operations = [migrations.RunPython(create_schedule, delete_schedule)]
