"""The multipart uploads of large objects, and their parts, which any lane may carry."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.models.locations import Destination
from replication.models.rules import ReplicationRule


class MultipartUpload(models.Model):
    """The upload of one key under one rule. It can outlive the lane and the job that began it.

    It can be used only while the source still has exactly this object; a changed object needs a
    new upload.
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
