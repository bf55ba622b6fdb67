"""Rules: the mapping from sources to destinations."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin import cells
from replication.admin.approval import ApprovedPages
from replication.admin.audited import actor_of
from replication.admin.confirm_deletes import (
    confirm_deletes_view,
    confirmation_view,
    held_deletes_csv,
)
from replication.admin.lists import KeptForHistoryAdmin
from replication.admin.look_again import look_again_view
from replication.admin.rule_form import FIELDSETS, NOT_STRIPPED, RuleForm
from replication.admin.start_sweep import may_start, offer_backfill, start_sweep_view
from replication.mapping.filters import parse_globs
from replication.models import ReplicationRule
from replication.operations import actions


@admin.action(description=gettext_lazy("Pause the selected rules"), permissions=["operate"])
def pause(model_admin: Any, request: HttpRequest, queryset: QuerySet[ReplicationRule]) -> None:
    paused = actions.pause(queryset, by=actor_of(request))
    messages.success(
        request,
        ngettext(
            "%d rule was paused. Its jobs are kept and wait until you resume it.",
            "%d rules were paused. Their jobs are kept and wait until you resume them.",
            paused,
        )
        % paused,
    )


@admin.action(description=gettext_lazy("Resume the selected rules"), permissions=["operate"])
def resume(model_admin: Any, request: HttpRequest, queryset: QuerySet[ReplicationRule]) -> None:
    resumed = actions.resume(queryset, by=actor_of(request))
    messages.success(
        request, ngettext("%d rule was resumed.", "%d rules were resumed.", resumed) % resumed
    )


@admin.register(ReplicationRule)
class RuleAdmin(ApprovedPages, KeptForHistoryAdmin):
    history = "jobs"
    in_use_message = gettext_lazy(
        "The rule “%(name)s” can't be deleted: its jobs, which prove what was copied, would be "
        "deleted too. To stop the rule, edit it and turn off “enabled”."
    )

    list_display = ("name", "state", "origin", "target", "delete_policy")
    list_filter = ("enabled", "source", "destination")
    list_select_related = ("source", "destination")
    search_fields = ("name",)
    show_facets = admin.ShowFacets.NEVER
    actions = (pause, resume)
    change_form_template = "admin/replication/rule.html"
    form = RuleForm
    fieldsets = FIELDSETS
    radio_fields: ClassVar = dict.fromkeys(
        ("key_policy", "metadata_policy", "tag_policy", "delete_policy"), admin.VERTICAL
    )

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_replicationrule")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            "may_operate": self.has_operate_permission(request),
            "may_start_sweeps": may_start(request),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        is_new = not change or "enabled" in form.changed_data
        # A backfill that the rule asks for starts by itself.
        if is_new and obj.enabled and not obj.backfill and may_start(request):
            # After the commit: no transaction waits for the network.
            transaction.on_commit(partial(offer_backfill, request, obj))

    def get_urls(self) -> list[URLPattern]:
        pages: list[tuple[str, Callable[..., HttpResponseBase], str]] = [
            ("look-again/", look_again_view, "look_again"),
            ("sweep/", start_sweep_view, "sweep"),
            ("confirm-deletes/", confirm_deletes_view, "confirm_deletes"),
            ("confirm-deletes/<str:token>/", confirmation_view, "confirmation"),
            ("held-deletes.csv", held_deletes_csv, "held_deletes_csv"),
        ]
        return [
            *(
                path(
                    f"<int:rule_id>/{place}",
                    self.admin_site.admin_view(view),
                    {"model_admin": self},
                    name=f"replication_replicationrule_{name}",
                )
                for place, view, name in pages
            ),
            *super().get_urls(),
        ]

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in NOT_STRIPPED:
            kwargs["strip"] = False
        formfield: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.is_relation:
            # This form selects a source; it does not delete one.
            formfield.widget.can_delete_related = False
        return formfield

    @admin.display(description=gettext_lazy("state"))
    def state(self, rule: ReplicationRule) -> SafeString:
        if not rule.enabled:
            return cells.badge("cancelled", _("disabled"))
        if rule.paused_at:
            return format_html(
                "{} {}", cells.badge("retrying", _("paused")), cells.ago(rule.paused_at)
            )
        if rule.parked_for:
            return format_html(
                "{} {}<br>{}",
                cells.badge("failed", _("parked")),
                cells.ago(rule.parked_at),
                rule.parked_for.cause,
            )
        if rule.braked_at:
            return format_html(
                "{} {}", cells.badge("failed", _("deletes braked")), cells.ago(rule.braked_at)
            )
        return cells.badge("completed", _("enabled"))

    @admin.display(description=gettext_lazy("from"), ordering="source__name")
    def origin(self, rule: ReplicationRule) -> SafeString:
        pattern = f"{rule.source_prefix}*{rule.source_suffix}"
        count = len(parse_globs(rule.include)) + len(parse_globs(rule.exclude))
        globs = ngettext("and %d glob", "and %d globs", count) % count if count else ""
        keys = cells.short_key(pattern)
        return format_html('{} {} <span class="quiet">{}</span>', rule.source.name, keys, globs)

    @admin.display(description=gettext_lazy("to"), ordering="destination__name")
    def target(self, rule: ReplicationRule) -> SafeString:
        pattern = f"{rule.destination_key(rule.source_prefix)}*{rule.source_suffix}"
        return format_html("{} {}", rule.destination.name, cells.short_key(pattern))
