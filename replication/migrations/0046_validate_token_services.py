from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0045_token_services'),
    ]

    operations = [
        ValidateConstraint(model_name='transferattempt', name='attempt_code_is_known'),
    ]
