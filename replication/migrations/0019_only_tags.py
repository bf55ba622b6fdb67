"""A job may be for the tags of its object only."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("replication", "0018_dead_letter_records"),
    ]

    operations = [
        migrations.AddField(
            model_name="transferjob",
            name="only_tags",
            field=models.BooleanField(
                db_default=False,
                editable=False,
                help_text=(
                    "Only tags changed: the object is not copied if the replica is a copy of it."
                ),
                verbose_name="only tags",
            ),
        ),
    ]
