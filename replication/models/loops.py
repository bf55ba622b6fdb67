"""Heartbeats: which lanes, pollers and sweepers run, and which one is requested."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class LoopKind(models.TextChoices):
    LANE = "lane", _("lane")
    POLLER = "poller", _("poller")
    SWEEPER = "sweeper", _("sweeper")


class Heartbeat(models.Model):
    """One run of a loop: first requested, then beating; deleted when the run ends.

    A row without `started_at` is a loop that waits in django-q's queue. There is at most one of
    each kind, so that many requests for another lane start only one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=8, choices=LoopKind)
    asked_at = models.DateTimeField(_("requested at"))
    started_at = models.DateTimeField(_("started at"), null=True)
    beat_at = models.DateTimeField(_("last heartbeat"), null=True)
    host = models.CharField(_("host"), max_length=255, default="")
    pid = models.IntegerField(_("process id"), null=True)
    cluster_pid = models.IntegerField(_("cluster's process id"), null=True)
    in_flight = models.IntegerField(_("in flight"), default=0)
    # A lane: how many transfers it has found to be of use. A new lane of the host begins with it.
    in_flight_limit = models.IntegerField(db_default=0)
    # The loop requested its successor; it no longer counts towards the lanes of its cluster.
    is_renewed = models.BooleanField(db_default=False)

    class Meta:
        verbose_name = _("heartbeat")
        verbose_name_plural = _("heartbeats")
        constraints = [
            models.UniqueConstraint(
                name="heartbeat_one_waiting_per_kind",
                fields=["kind"],
                condition=Q(started_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pid}@{self.host}"
