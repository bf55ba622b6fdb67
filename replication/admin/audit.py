"""The audit log: what people did in the admin, through the API and on the command line."""

from functools import cache
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from replication.admin import cells
from replication.admin.cells import NOTHING
from replication.admin.lists import ReadOnlyAdmin
from replication.models import AuditAction, AuditEntry, ConfigurationChange


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
        if entry.action in (AuditAction.LOGIN_FAILED, AuditAction.LOGIN_REFUSED):
            count = entry.affected or 0
            return ngettext("%(count)s time", "%(count)s times", count) % {"count": count}
        return NOTHING if entry.affected is None else str(entry.affected)


@admin.register(ConfigurationChange)
class ConfigurationChangeAdmin(ReadOnlyAdmin):
    list_display = ("when", "who", "kind", "row", "change")
    list_display_links = None
    list_filter = ("table",)
    list_select_related = ("entry",)
    search_fields = ("row__exact",)
    search_help_text = _("The full name of a rule, source, destination, queue or user.")
    ordering = ("-id",)

    @admin.display(description=_("when"))
    def when(self, change: ConfigurationChange) -> SafeString:
        return cells.moment(change.made_at)

    @admin.display(description=_("who"))
    def who(self, change: ConfigurationChange) -> str:
        """The actor of its entry; else who was connected to the database."""
        if change.entry is not None:
            return change.entry.actor
        return _("%(user)s of the database, from %(client)s") % {
            "user": change.database_user,
            "client": change.client,
        }

    @admin.display(description=_("of"))
    def kind(self, change: ConfigurationChange) -> str:
        return _names().get(change.table, change.table)

    @admin.display(description=_("before → after"))
    def change(self, change: ConfigurationChange) -> SafeString:
        before, after = _fields(change.before), _fields(change.after)
        lines = [
            (name, _shown(before.get(name)), _shown(after.get(name)))
            for name in sorted({*before, *after} - {"id"})
        ]
        return format_html_join(mark_safe("<br>"), "{}: {} → {}", lines)


@cache
def _names() -> dict[str, str]:
    """What people call the rows of each table."""
    return {
        model._meta.db_table: str(model._meta.verbose_name)
        for model in apps.get_models(include_auto_created=True)
    }


def _fields(values: Any) -> dict[str, Any]:
    """The values by field. Only somebody who writes into the table by hand has none."""
    if values is None or isinstance(values, dict):
        return values or {}
    return {"": values}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NOTHING
    return NOTHING if value in (None, "") else f"{value}"
