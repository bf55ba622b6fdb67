"""Calls that were signed with a key: which came already, and when the last one came."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class SignedCall(models.Model):
    """A signature that was taken. The same one is refused, until its time is up anyway."""

    signature = models.BinaryField(primary_key=True, max_length=32)
    expires_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = [
            # retention: the oldest
            models.Index(name="signed_call_expiry", fields=["expires_at"]),
        ]

    def __str__(self) -> str:
        return bytes(self.signature).hex()


class LambdaContact(models.Model):
    """When a signed call last came, to the minute: one row, or none before the first call."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    heard_at = models.DateTimeField(_("heard from"))

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="lambda_contact_is_one_row", condition=Q(id=1)),
        ]

    def __str__(self) -> str:
        return str(self.heard_at)
