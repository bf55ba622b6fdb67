"""The index in whose order a claim goes from rule to rule."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # The table may have millions of rows: the index is built beside the work on them.
    atomic = False

    dependencies = [("replication", "0034_history")]

    operations = [
        AddIndexConcurrently(
            model_name="transferjob",
            index=models.Index(
                name="job_turns",
                fields=["priority", "rule", "available_at"],
                condition=models.Q(state="pending") & ~models.Q(delete_permit="awaited"),
            ),
        ),
    ]
