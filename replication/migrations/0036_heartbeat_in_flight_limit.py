"""A lane's heartbeat says how many transfers the lane has found to be of use at once."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0035_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='heartbeat',
            name='in_flight_limit',
            field=models.IntegerField(db_default=0),
        ),
    ]
