"""Heartbeats: which lanes and pollers run, and where."""

from datetime import timedelta

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin.cells import ago, badge
from replication.admin.lists import ReadOnlyAdmin
from replication.cluster.loops import ALIVE_SECONDS
from replication.models import Heartbeat


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("kind", "health", "host", "pid", "in_flight", "started", "last_beat")
    list_display_links = None
    ordering = ("kind", "host", "pid")

    @admin.display(description=_("state"))
    def health(self, heartbeat: Heartbeat) -> SafeString:
        if heartbeat.beat_at is None:
            return badge("pending", _("waiting for a worker"))
        silence = timezone.now() - heartbeat.beat_at
        if silence > timedelta(seconds=ALIVE_SECONDS):
            return badge("failed", _("silent"))
        return badge("completed", _("running"))

    @admin.display(description=_("started"))
    def started(self, heartbeat: Heartbeat) -> SafeString:
        return ago(heartbeat.started_at)

    @admin.display(description=_("last heartbeat"))
    def last_beat(self, heartbeat: Heartbeat) -> SafeString:
        return ago(heartbeat.beat_at)
