"""Sweeps: comparisons of whole buckets, and what they found."""

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.lists import ReadOnlyAdmin
from replication.models import Sweep


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = (
        *("rule", "kind", "state_badge", "began", "ended", "source_keys", "equal"),
        *("missing", "different", "extra", "lost", "ordered"),
    )
    list_filter = ("kind", "state", "rule")
    list_select_related = ("rule",)
    ordering = ("-pk",)
    fields = (
        *("rule", "kind", "state_badge", "began", "ended", "error", "waits_for"),
        *("source_keys", "replica_keys", "source_requests", "destination_requests"),
        *("equal", "plausible", "missing", "different", "extra", "lost", "ordered"),
    )
    readonly_fields = fields

    @admin.display(description=_("state"))
    def state_badge(self, sweep: Sweep) -> SafeString:
        return cells.badge(sweep.state, sweep.get_state_display())

    @admin.display(description=_("began"))
    def began(self, sweep: Sweep) -> SafeString:
        return cells.ago(sweep.began_at)

    @admin.display(description=_("ended"))
    def ended(self, sweep: Sweep) -> SafeString:
        return cells.ago(sweep.ended_at)
