"""A source may pay for its requests itself."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("replication", "0022_learned_capabilities"),
    ]

    operations = [
        migrations.AddField(
            model_name="source",
            name="requester_pays",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text=(
                    "For a bucket of another account that makes the requester pay: the account of "
                    "the credential profile is charged for requests and traffic."
                ),
                verbose_name="requester pays",
            ),
        ),
    ]
