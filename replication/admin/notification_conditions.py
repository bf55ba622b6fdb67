"""Notification conditions: what is or was wrong, and what each target was sent about it."""

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.lists import ReadOnlyAdmin
from replication.models import Condition


class OpenFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("open")), ("over", _("over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() in {"open", "over"}:
            return queryset.filter(closed_at__isnull=self.value() == "open")
        return queryset


@admin.register(Condition)
class ConditionAdmin(ReadOnlyAdmin):
    list_display = ("kind", "about", "state", "target", "since", "lasted", "last_told")
    list_filter = (OpenFilter, "target", "kind")
    list_select_related = ("target",)
    # Open conditions first, then those that ended last.
    ordering = (F("closed_at").desc(nulls_first=True), "-began_at")
    fields = (
        *("kind", "about", "state", "target", "detail", "since_when", "lasted"),
        *("told_when", "last_told_when", "over_when", "closing", "closing_told_when"),
    )

    @admin.display(description=_("rule or queue"))
    def about(self, condition: Condition) -> str:
        return condition.rule or condition.queue or cells.NOTHING

    @admin.display(description=_("state"))
    def state(self, condition: Condition) -> SafeString:
        if condition.closed_at and condition.closing_told_at:
            return cells.badge("completed", _("over"))
        if condition.closed_at:
            return cells.badge("retrying", _("over, not sent yet"))
        if condition.confirmed_at is None:
            return cells.badge("pending", _("not confirmed yet"))
        if condition.told_at is None:
            return cells.badge("retrying", _("open, not sent yet"))
        return cells.badge("failed", _("open"))

    @admin.display(description=_("since"))
    def since(self, condition: Condition) -> SafeString:
        return cells.ago(condition.began_at)

    @admin.display(description=_("duration"))
    def lasted(self, condition: Condition) -> str:
        return cells.duration((condition.closed_at or timezone.now()) - condition.began_at)

    @admin.display(description=_("last sent"))
    def last_told(self, condition: Condition) -> SafeString:
        return cells.ago(condition.closing_told_at or condition.last_told_at)

    @admin.display(description=_("since"))
    def since_when(self, condition: Condition) -> SafeString:
        return cells.moment(condition.began_at)

    @admin.display(description=_("first sent"))
    def told_when(self, condition: Condition) -> SafeString:
        return cells.moment(condition.told_at)

    @admin.display(description=_("last sent"))
    def last_told_when(self, condition: Condition) -> SafeString:
        return cells.moment(condition.last_told_at)

    @admin.display(description=_("over"))
    def over_when(self, condition: Condition) -> SafeString:
        return cells.moment(condition.closed_at)

    @admin.display(description=_("end sent"))
    def closing_told_when(self, condition: Condition) -> SafeString:
        return cells.moment(condition.closing_told_at)
