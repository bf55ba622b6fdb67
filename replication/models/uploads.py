"""The multipart uploads of large objects, their parts, which any lane may carry, and their end."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning
from replication.models.locations import Destination
from replication.models.rules import ReplicationRule


class _AtBucket(models.Model):
    """Where an upload is, as its destination was when the upload began.

    A destination can be edited or deleted while OSS still has the upload's parts.
    """

    endpoint = models.CharField(_("endpoint"), max_length=255, db_default="")
    bucket = models.CharField(_("bucket"), max_length=63, db_default="")
    region = models.CharField(_("region"), max_length=40, db_default="")
    addressing = models.CharField(_("addressing"), max_length=16, db_default="")
    credential_profile = models.CharField(_("credential profile"), max_length=40, db_default="")

    class Meta:
        abstract = True

    @staticmethod
    def location_of(destination: Destination) -> dict[str, str]:
        """The values of these fields for an upload that begins at this destination."""
        return {field.name: getattr(destination, field.name) for field in _AtBucket._meta.fields}


class MultipartUpload(_AtBucket):
    """The upload of one key under one rule. It can outlive the lane and the job that began it.

    It can be used only while the source still has exactly this object; a changed object needs a
    new upload. A row that is deleted before `is_completed` becomes an UploadToAbort by a trigger
    of the database (migration 0015), whatever deletes it.
    """

    id: int
    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="uploads", db_index=False
    )
    key = models.TextField(_("key"), db_collation="C")
    destination = models.ForeignKey(Destination, models.CASCADE, related_name="+")
    destination_key = models.TextField(_("destination key"))
    upload_id = models.TextField(_("upload id"))
    attributes_hash = models.TextField()  # of all attributes that were sent when it began
    began_at = models.DateTimeField(_("began at"))

    size_bytes = models.BigIntegerField(_("size in bytes"))
    part_size_bytes = models.BigIntegerField(_("part size in bytes"))
    source_etag = models.TextField(_("source ETag"))
    source_version_id = models.TextField(_("source version"), default="")
    # The source's checksum of the whole object, if it can be combined from those of the parts.
    checksum_name = models.CharField(max_length=12, default="")
    checksum_value = models.TextField(default="")

    # The error of a part that its own retries did not cure; the job's attempt ends with it.
    error_code = models.CharField(_("error"), max_length=32, default="")
    error_detail = models.TextField(_("error detail"), default="")
    error_request_id = models.TextField(_("request id"), default="")

    # Set just before the row is deleted, because OSS has turned the parts into the object.
    is_completed = models.BooleanField(_("completed"), db_default=False)

    class Meta:
        verbose_name = _("multipart upload")
        verbose_name_plural = _("multipart uploads")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="upload_one_per_key", fields=["rule", "key"]),
        ]

    def __str__(self) -> str:
        return self.key


class UploadPart(models.Model):
    """One part. It waits without a lease, is carried under a lease, and is done with an ETag."""

    upload = models.ForeignKey(
        MultipartUpload, models.CASCADE, related_name="parts", db_index=False
    )
    number = models.IntegerField(_("number"))  # from 1
    # The fencing token; each claim increments it.
    attempt = models.IntegerField(_("claims"), default=0)
    failures = models.IntegerField(_("unsuccessful tries"), default=0)
    available_at = models.DateTimeField(_("due at"))
    lease_expires_at = models.DateTimeField(_("lease until"), null=True)
    claimed_by = models.UUIDField(_("lane"), null=True)
    etag = models.TextField(_("ETag"), default="")
    crc64 = models.TextField(_("CRC-64"), default="")
    # In the algorithm of checksum_name. A decimal, because PostgreSQL has no unsigned 64-bit type.
    source_crc = models.DecimalField(max_digits=20, decimal_places=0, default=0)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="part_once_per_upload", fields=["upload", "number"]),
            models.CheckConstraint(
                name="part_has_a_lease_exactly_while_it_is_carried",
                condition=Q(lease_expires_at__isnull=True, claimed_by__isnull=True)
                | Q(lease_expires_at__isnull=False, claimed_by__isnull=False, etag=""),
            ),
        ]
        indexes = [
            # uploads.claim_parts and uploads.progress: the parts that are still missing
            models.Index(name="part_missing", fields=["upload", "number"], condition=Q(etag="")),
        ]

    def __str__(self) -> str:
        return f"{self.upload_id}/{self.number}"


class UploadToAbort(_AtBucket):
    """An unfinished upload of ours whose record is gone. OSS bills its parts until it is aborted.

    The row has all that an abort needs, even after the rule and the destination are deleted. It
    stays until OSS confirms that the upload is gone. Only jobs/aborting.py and the trigger on
    MultipartUpload write here.
    """

    # No foreign key: this row outlives the destination.
    destination_pk = models.BigIntegerField()
    destination_key = models.TextField(_("destination key"), db_collation="C")
    upload_id = models.TextField(_("upload id"))
    noted_at = models.DateTimeField(_("noted"), db_default=Now())
    tries = models.IntegerField(_("tries"), db_default=0)
    next_try_at = models.DateTimeField(_("next try"), db_default=Now())
    # Of the last try; empty before the first.
    error_code = models.CharField(_("last error"), max_length=32, db_default="")
    error_detail = models.TextField(_("what OSS answered"), db_default="")

    class Meta:
        verbose_name = _("upload to abort")
        verbose_name_plural = _("uploads to abort")
        default_permissions = ("view", "delete")
        constraints = [
            models.UniqueConstraint(
                name="upload_to_abort_once",
                fields=["endpoint", "bucket", "destination_key", "upload_id"],
            ),
        ]
        indexes = [
            # aborting.claim and the admin's list
            models.Index(name="upload_to_abort_due", fields=["next_try_at"]),
        ]

    def __str__(self) -> str:
        return self.destination_key

    @property
    def error(self) -> Meaning | None:
        """What an operator reads about the last error; None before the first."""
        return MEANINGS[ErrorCode(self.error_code)] if self.error_code else None
