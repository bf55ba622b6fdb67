"""Circuits: what lanes leave alone while nothing succeeds there."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning, Scope


class CircuitScope(models.TextChoices):
    """errors.Scope, without single objects: they have no circuit."""

    RULE = Scope.RULE.value, _("rule")
    BUCKET = Scope.BUCKET.value, _("bucket")
    ENDPOINT = Scope.ENDPOINT.value, _("endpoint")
    PROFILE = Scope.PROFILE.value, _("credential profile on a host")


class CircuitSide(models.TextChoices):
    SOURCE = "source", _("source")
    DESTINATION = "destination", _("destination")


class Circuit(models.Model):
    """A rule, bucket, endpoint or credential profile, and how it last failed.

    Closed while `opened_at` is null. Failures are evidence until the next success: they open the
    circuit when different keys have failed and nothing has succeeded since the first of them.
    """

    id: int
    scope = models.CharField(_("scope"), max_length=8, choices=CircuitScope)
    side = models.CharField(_("side"), max_length=11, choices=CircuitSide)
    # A rule's id; "endpoint/bucket"; an endpoint; the name of a credential profile.
    place = models.TextField(_("place"))
    host = models.CharField(_("host"), max_length=255, blank=True, default="")  # of a profile

    failed_keys = ArrayField(models.TextField(), default=list)  # different ones; only a few
    first_failed_at = models.DateTimeField(
        _("first failed at"), null=True
    )  # since the last success
    code = models.CharField(_("error"), max_length=32)
    detail = models.TextField(_("error detail"), default="")

    opened_at = models.DateTimeField(_("open since"), null=True)
    probe_at = models.DateTimeField(_("next probe at"), null=True)
    closed_at = models.DateTimeField(_("closed at"), null=True)  # the last time
    # When the circuit's host last left a loop to other hosts: it is alive, also without a lane.
    host_seen_at = models.DateTimeField(_("host last seen"), null=True)

    class Meta:
        verbose_name = _("circuit")
        verbose_name_plural = _("circuits")
        constraints = [
            models.UniqueConstraint(
                name="circuit_is_unique", fields=["scope", "side", "place", "host"]
            ),
            models.CheckConstraint(
                name="circuit_is_probed_exactly_while_open",
                condition=Q(opened_at__isnull=True, probe_at__isnull=True)
                | Q(opened_at__isnull=False, probe_at__isnull=False, first_failed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        on_host = f" on {self.host}" if self.host else ""
        return f"{self.side} {self.scope} {self.place}{on_host}"

    @property
    def error(self) -> Meaning:
        """What an operator reads about the last failure."""
        return MEANINGS[ErrorCode(self.code)]
