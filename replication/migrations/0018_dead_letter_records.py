"""A dead letter is a record of a message.

The index is built without holding up intake. If that is interrupted, run the migration again.
"""

import django.db.models.functions.comparison
from django.db import migrations, models

INDEX = "dead_letter_once_per_record"


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("replication", "0017_marks"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE replication_deadletter ADD COLUMN IF NOT EXISTS record integer",
                    "ALTER TABLE replication_deadletter DROP COLUMN record",
                )
            ],
            state_operations=[
                migrations.AddField(
                    model_name="deadletter",
                    name="record",
                    field=models.IntegerField(
                        help_text=(
                            "The record's number in the message, from 0; empty if the whole "
                            "message can't be read."
                        ),
                        null=True,
                        verbose_name="record",
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # What an interrupted run leaves is an index that refuses nothing.
                migrations.RunSQL(f"DROP INDEX IF EXISTS {INDEX}", migrations.RunSQL.noop),
                migrations.RunSQL(
                    f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON replication_deadletter "
                    "(queue_id, message_id, (COALESCE(record, -1)))",
                    f"DROP INDEX IF EXISTS {INDEX}",
                ),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="deadletter",
                    constraint=models.UniqueConstraint(
                        "queue",
                        "message_id",
                        django.db.models.functions.comparison.Coalesce("record", -1),
                        name=INDEX,
                    ),
                )
            ],
        ),
        migrations.RemoveConstraint(model_name="deadletter", name="dead_letter_once_per_message"),
    ]
