"""The schedule that revives the loops, and nothing that an operator would edit."""

from django.db import migrations
from django.utils import timezone


def create_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name="s3sync: revive the loops",
        defaults={
            "func": "replication.tasks.revive",
            "schedule_type": "I",  # every n minutes
            "minutes": 1,
            "repeats": -1,
            "next_run": timezone.now(),
        },
    )


def delete_schedule(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(name="s3sync: revive the loops").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("replication", "0001_initial"),
        ("django_q", "0018_task_success_index"),
    ]
    operations = [migrations.RunPython(create_schedule, delete_schedule)]
