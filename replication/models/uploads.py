"""A large object on its way: its multipart upload, and the parts that any lane may carry."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.models.locations import Destination
from replication.models.rules import ReplicationRule


class MultipartUpload(models.Model):
    """The upload of one key under one rule. It outlives the lane, and the job, that began it.

    Only for as long as the source has exactly this object; what is there by then is another upload.
    """

    id: int
    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="uploads", db_index=False
    )
    key = models.TextField(_("key"), db_collation="C")
    destination = models.ForeignKey(Destination, models.CASCADE, related_name="+")
    destination_key = models.TextField(_("destination key"))
    upload_id = models.TextField(_("upload id"))
    attributes_hash = models.TextField()  # of all that was written with it at its beginning
    began_at = models.DateTimeField(_("began at"))

    size_bytes = models.BigIntegerField(_("size in bytes"))
    part_size_bytes = models.BigIntegerField(_("size of a part in bytes"))
    source_etag = models.TextField(_("source ETag"))
    source_version_id = models.TextField(_("source version"), default="")
    # What the source says of the whole, if it can be put together from the parts'.
    checksum_name = models.CharField(max_length=12, default="")
    checksum_value = models.TextField(default="")

    # What a part met that its own retries don't mend; the job's try ends with it.
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
    """A part to carry: waiting without a lease, being carried with one, there with an ETag."""

    upload = models.ForeignKey(
        MultipartUpload, models.CASCADE, related_name="parts", db_index=False
    )
    number = models.IntegerField(_("number"))  # from 1
    attempt = models.IntegerField(_("claims"), default=0)  # the fencing token, raised by each claim
    failures = models.IntegerField(_("unsuccessful tries"), default=0)
    available_at = models.DateTimeField(_("due at"))
    lease_expires_at = models.DateTimeField(_("lease until"), null=True)
    claimed_by = models.UUIDField(_("lane"), null=True)
    etag = models.TextField(_("ETag"), default="")
    crc64 = models.TextField(_("CRC-64"), default="")
    # By the upload's checksum_name; a CRC of 64 bits has no sign, and PostgreSQL's integers have.
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
            # uploads.claim_parts, and what is left of an upload
            models.Index(name="part_missing", fields=["upload", "number"], condition=Q(etag="")),
        ]

    def __str__(self) -> str:
        return f"{self.upload_id}/{self.number}"
