"""Sweeps: comparisons of a rule's two buckets that a cluster carries on by itself."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule


class SweepKind(models.TextChoices):
    SCRUB = "scrub", _("scrub: find what no event told of")
    BACKFILL = "backfill", _("backfill: copy what was there before")


class SweepState(models.TextChoices):
    RUNNING = "running", _("running")
    COMPLETED = "completed", _("completed")
    CANCELLED = "cancelled", _("cancelled")
    FAILED = "failed", _("failed")  # a side can't be listed in the order of its keys


class Sweep(models.Model):
    """One comparison of a rule's buckets, and how far it is.

    A cluster that carries it on holds it until `held_until`, and `token` fences off one that held
    it before. `cursor` is the last key of the source that is done.
    """

    id: int
    rule_id: int
    rule = models.ForeignKey(
        ReplicationRule, models.CASCADE, related_name="sweeps", verbose_name=_("rule")
    )
    kind = models.CharField(_("kind"), max_length=8, choices=SweepKind)
    state = models.CharField(
        _("state"), max_length=9, choices=SweepState, default=SweepState.RUNNING
    )
    began_at = models.DateTimeField(_("began"), db_default=Now())
    ended_at = models.DateTimeField(_("ended"), null=True)
    rule_version = models.BigIntegerField()  # an edited rule is swept from the start
    cursor = models.TextField(_("last key"), db_default="")
    token = models.IntegerField(db_default=0)
    held_until = models.DateTimeField(null=True)
    error = models.TextField(_("error"), db_default="")

    source_keys = models.BigIntegerField(_("keys at the source"), db_default=0)
    replica_keys = models.BigIntegerField(_("keys at the destination"), db_default=0)
    source_requests = models.BigIntegerField(_("requests to S3"), db_default=0)
    destination_requests = models.BigIntegerField(_("requests to OSS"), db_default=0)
    equal = models.BigIntegerField(_("equal"), db_default=0)
    plausible = models.BigIntegerField(_("of these plausible"), db_default=0)
    missing = models.BigIntegerField(_("missing"), db_default=0)
    different = models.BigIntegerField(_("different"), db_default=0)
    extra = models.BigIntegerField(_("extra"), db_default=0)
    lost = models.BigIntegerField(_("changes that no event told of"), db_default=0)
    ordered = models.BigIntegerField(_("keys to be looked at"), db_default=0)
    findings = models.JSONField(_("first findings"), default=list)

    class Meta:
        verbose_name = _("sweep")
        verbose_name_plural = _("sweeps")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                name="one_running_sweep_of_a_kind",
                fields=["rule", "kind"],
                condition=Q(state=SweepState.RUNNING),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of rule {self.rule_id}"
