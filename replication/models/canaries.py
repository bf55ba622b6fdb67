"""Canaries: a small object at the source of a rule, whose events show that events still arrive."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, Disposition, ErrorCode, Meaning
from replication.models.rules import ReplicationRule

# Two more canaries are put in this time, so one event that is late is no silence.
CANARY_GRACE = timedelta(minutes=10)


@dataclass(frozen=True)
class CanaryRoute:
    """A route by which events of a canary come: `queue` or `api`; `any` if none ever came."""

    name: str
    heard_at: datetime | None
    unheard_since: datetime | None  # when the first canary was put that no event has told of


class Canary(models.Model):
    """The canary of one rule: when it was put, and when an event told of it by each route.

    Only intake/canaries.py writes the rows.
    """

    rule = models.OneToOneField(
        ReplicationRule, models.CASCADE, primary_key=True, related_name="last_canary"
    )
    key = models.TextField(db_collation="C")
    tried_at = models.DateTimeField()
    put_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=32, db_default="")
    error_detail = models.TextField(db_default="")
    queue_heard_at = models.DateTimeField(null=True)
    queue_unheard_since = models.DateTimeField(null=True)
    api_heard_at = models.DateTimeField(null=True)
    api_unheard_since = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("canary")
        verbose_name_plural = _("canaries")
        default_permissions = ()

    def __str__(self) -> str:
        return self.key

    @property
    def routes(self) -> list[CanaryRoute]:
        """The routes that must deliver the canary's events: those that have delivered one before.

        If no route ever has, it is not known which one should, so there is one of any name.
        """
        known = [
            CanaryRoute("queue", self.queue_heard_at, self.queue_unheard_since),
            CanaryRoute("api", self.api_heard_at, self.api_unheard_since),
        ]
        heard = [route for route in known if route.heard_at]
        return heard or [CanaryRoute("any", None, self.queue_unheard_since)]

    def silent_routes(self, now: datetime) -> list[CanaryRoute]:
        """The routes whose events are overdue; none while no canaries are put."""
        if self.put_at is None or now - self.put_at > CANARY_GRACE:
            return []
        return [
            route
            for route in self.routes
            if route.unheard_since and now - route.unheard_since > CANARY_GRACE
        ]

    def failure(self, now: datetime) -> Meaning | None:
        """Why the canary can't be put, once that needs a person or has lasted for long."""
        if self.failing_since is None:
            return None
        meaning = MEANINGS[ErrorCode(self.error_code)]
        needs_a_person = meaning.disposition is Disposition.PERSON
        has_lasted = now - self.failing_since > CANARY_GRACE
        return meaning if needs_a_person or has_lasted else None
