"""Signatures that were used already, and when the last signed call came."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class SignedCall(models.Model):
    """A signature that was accepted; it is refused a second time, until it expires anyway."""

    signature = models.BinaryField(primary_key=True, max_length=32)
    expires_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = [
            # retention: expired signatures
            models.Index(name="signed_call_expiry", fields=["expires_at"]),
        ]

    def __str__(self) -> str:
        return bytes(self.signature).hex()


class LambdaContact(models.Model):
    """When the last signed call came, to the minute; no row before the first call, then one."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    heard_at = models.DateTimeField(_("last call at"))

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="lambda_contact_is_one_row", condition=Q(id=1)),
        ]

    def __str__(self) -> str:
        return str(self.heard_at)
