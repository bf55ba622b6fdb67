"""The index of held deletes, in the order in which the page that confirms them reads them."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # The table may have millions of rows: the indexes are built beside the work on them.
    atomic = False

    dependencies = [
        ("replication", "0015_uploads_to_abort"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="transferjob",
            index=models.Index(
                name="job_held",
                fields=["rule", "available_at", "id"],
                condition=models.Q(state="pending", delete_permit="awaited"),
            ),
        ),
        AddIndexConcurrently(
            model_name="transferjob",
            index=models.Index(
                name="job_permitted",
                fields=["rule", "delete_permit"],
                condition=models.Q(state="pending")
                & ~models.Q(delete_permit__in=["", "awaited"]),
            ),
        ),
        # Last: until then the old index serves the queries of both.
        RemoveIndexConcurrently(model_name="transferjob", name="job_permit"),
    ]
