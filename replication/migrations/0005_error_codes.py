"""The codes of errors that pinned ranges, uploads and guarded addresses can meet."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replication', '0004_rollups'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='transferattempt',
            name='attempt_code_is_known',
        ),
        migrations.AddConstraint(
            model_name='transferattempt',
            constraint=models.CheckConstraint(condition=models.Q(('code__in', ['source_access_denied', 'source_bucket_missing', 'source_credentials', 'source_wrong_region', 'source_kms', 'source_customer_key', 'source_clock', 'source_archived', 'source_redirected', 'source_length_unknown', 'source_changed', 'source_truncated', 'source_corrupt', 'source_throttled', 'source_unavailable', 'source_unreachable', 'source_refused', 'source_range_ignored', 'source_unsupported', 'source_address_refused', 'destination_access_denied', 'destination_bucket_missing', 'destination_credentials', 'destination_endpoint', 'destination_kms', 'destination_clock', 'destination_throttled', 'destination_unavailable', 'destination_unreachable', 'destination_refused', 'destination_archived', 'upload_gone', 'key_incompatible', 'metadata_incompatible', 'object_too_large', 'checksum_mismatch', 'credential_profile', 'lease_expired', 'unexpected'])), name='attempt_code_is_known'),
        ),
    ]
