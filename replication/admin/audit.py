"""The audit log: what people did in the admin, through the API and on the command line."""

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.lists import ReadOnlyAdmin
from replication.models import AuditEntry


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ("when", "actor", "actor_kind", "action", "about", "result")
    list_display_links = None
    list_filter = ("actor_kind", "action")
    search_fields = ("actor__exact",)
    search_help_text = _("The full name of a user or token.")
    ordering = ("-id",)

    @admin.display(description=_("when"))
    def when(self, entry: AuditEntry) -> SafeString:
        return cells.moment(entry.began_at)

    @admin.display(description=_("result"))
    def result(self, entry: AuditEntry) -> SafeString | str:
        if entry.ended_at is None:
            return cells.badge("failed", _("interrupted"))
        return str(entry.affected)
