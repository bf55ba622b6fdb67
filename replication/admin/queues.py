"""Event queues, with their state as the pollers last saw it."""

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin.approval import ApprovedForm, ApprovedPages
from replication.admin.cells import NOTHING, ago, badge, moment
from replication.admin.lists import KeptForHistoryAdmin
from replication.admin.sources import PROFILE_HELP
from replication.models import EventQueue


@admin.register(EventQueue)
class EventQueueAdmin(ApprovedPages, KeptForHistoryAdmin):
    form = ApprovedForm
    history = "dead_letters"
    in_use_message = _(
        "The queue “%(name)s” can't be deleted: its dead letters would be deleted too. "
        "To stop polling the queue, edit it and turn off “enabled”."
    )

    list_display = (
        *("name", "health", "waiting", "last_message", "polled"),
        *("messages_received", "records_unmatched", "last_error"),
    )
    search_fields = ("name", "url")
    show_facets = admin.ShowFacets.NEVER
    readonly_fields = (
        *("health", "waiting", "last_message_when", "polled_when", "last_error", "last_error_when"),
        *("messages_received", "records_unmatched"),
    )

    def get_fieldsets(self, request: Any, obj: EventQueue | None = None) -> Any:
        fieldsets = [
            (None, {"fields": ("name", "url", "region", "enabled")}),
            (_("Credentials"), {"fields": ("credential_profile",), "description": PROFILE_HELP}),
        ]
        if obj:
            fieldsets.append((_("Polling"), {"fields": self.readonly_fields}))
        return fieldsets

    @admin.display(description=_("state"))
    def health(self, queue: EventQueue) -> SafeString:
        if not queue.enabled:
            return badge("cancelled", _("disabled"))
        if queue.last_error:
            return badge("failed", _("error"))
        if queue.last_polled_at is None:
            return badge("pending", _("never polled"))
        return badge("completed", _("polled"))

    @admin.display(description=_("messages waiting"))
    def waiting(self, queue: EventQueue) -> str:
        return str(_("unknown") if queue.depth is None else queue.depth)

    @admin.display(description=_("last message"), ordering="last_message_at")
    def last_message(self, queue: EventQueue) -> SafeString:
        return ago(queue.last_message_at)

    @admin.display(description=_("last polled"), ordering="last_polled_at")
    def polled(self, queue: EventQueue) -> SafeString:
        return ago(queue.last_polled_at)

    @admin.display(description=_("last message"))
    def last_message_when(self, queue: EventQueue) -> SafeString:
        return moment(queue.last_message_at)

    @admin.display(description=_("last polled"))
    def polled_when(self, queue: EventQueue) -> SafeString:
        return moment(queue.last_polled_at)

    @admin.display(description=_("last error at"))
    def last_error_when(self, queue: EventQueue) -> SafeString:
        return moment(queue.last_error_at) if queue.last_error else NOTHING
