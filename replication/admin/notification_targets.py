"""Notification targets: who is notified of which problems, and whether messages arrive."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin import cells
from replication.admin.audited import Audited, actor_of
from replication.models import ConditionKind, NotificationTarget
from replication.models.notifications import usual_kinds
from replication.monitoring.notifications.sender import Unsendable, services
from replication.operations import actions


@admin.action(
    description=gettext_lazy("Send a test message to the selected targets"),
    permissions=["operate"],
)
def send_test(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[NotificationTarget]
) -> None:
    for delivery in actions.send_tests(queryset, by=actor_of(request)):
        if delivery.accepted_by:
            messages.success(
                request,
                _("%(target)s: the test message was accepted by %(services)s.")
                % {"target": delivery.target, "services": ", ".join(delivery.accepted_by)},
            )
        if delivery.error:
            messages.error(
                request,
                _("%(target)s: sending the test message failed. %(reason)s")
                % {"target": delivery.target, "reason": delivery.error},
            )


DELIVERY_FIELDS = ("health", "told_when", "trouble", "trouble_when", "next_try")


class TargetForm(forms.ModelForm):
    kinds = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Notify about"),
        choices=ConditionKind.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=usual_kinds,
        help_text=gettext_lazy("Sends a message when the problem begins and when it is over."),
    )

    def clean(self) -> dict[str, Any]:
        """Look up and parse the addresses, so that the form reports a mistake in them."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("enabled") and cleaned.get("credential_profile"):
            try:
                services(cleaned["credential_profile"])
            except Unsendable as error:
                self.add_error("credential_profile", ValidationError(str(error)))
        return cleaned


@admin.register(NotificationTarget)
class NotificationTargetAdmin(Audited, admin.ModelAdmin):
    list_display = ("name", "health", "tells_of", "credential_profile", "told", "trouble")
    show_facets = admin.ShowFacets.NEVER
    actions = (send_test,)
    form = TargetForm
    filter_horizontal = ("rules",)
    readonly_fields = ("kinds_in_words", *DELIVERY_FIELDS)

    def get_fieldsets(self, request: HttpRequest, obj: NotificationTarget | None = None) -> Any:
        kinds = "kinds" if self._may_edit(request, obj) else "kinds_in_words"
        fieldsets = [
            (None, {"fields": ("name", "enabled", "credential_profile")}),
            (gettext_lazy("What to notify about"), {"fields": (kinds, "rules")}),
            (
                gettext_lazy("Thresholds"),
                {
                    "fields": (
                        *("failures_at_least", "failures_minutes", "lag_seconds", "lag_minutes"),
                        *("silence_hours", "remind_hours"),
                    ),
                    "description": gettext_lazy(
                        "All problems found in the same minute go into one message. When a problem "
                        "is over, the target gets one message, if it was notified of the problem."
                    ),
                },
            ),
        ]
        if obj:
            fieldsets.append((gettext_lazy("Delivery"), {"fields": DELIVERY_FIELDS}))
        return fieldsets

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        formfield: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.is_relation:
            # This form selects rules; it does not add them.
            formfield.widget.can_add_related = False
        return formfield

    def _may_edit(self, request: HttpRequest, obj: NotificationTarget | None) -> bool:
        return self.has_change_permission(request, obj) if obj else True

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_notificationtarget")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Delete the target's conditions with it, though no user may delete them separately."""
        deleted, counts, _needed, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, set(), protected

    @admin.display(description=gettext_lazy("state"))
    def health(self, target: NotificationTarget) -> SafeString:
        if not target.enabled:
            return cells.badge("cancelled", _("disabled"))
        if target.errors_in_a_row:
            return cells.badge("failed", _("failing"))
        if target.last_error:
            return cells.badge("retrying", _("partly failing"))
        if target.last_told_at is None:
            return cells.badge("pending", _("nothing sent yet"))
        return cells.badge("completed", _("working"))

    @admin.display(description=gettext_lazy("notifies about"))
    def tells_of(self, target: NotificationTarget) -> SafeString:
        number = len(target.kinds)
        text = ngettext("%d kind", "%d kinds", number) % number
        return format_html('<span title="{}">{}</span>', self.kinds_in_words(target), text)

    @admin.display(description=gettext_lazy("Notify about"))
    def kinds_in_words(self, target: NotificationTarget) -> str:
        return " · ".join(str(ConditionKind(kind).label) for kind in target.kinds)

    @admin.display(description=gettext_lazy("last sent"), ordering="last_told_at")
    def told(self, target: NotificationTarget) -> SafeString:
        return cells.ago(target.last_told_at)

    @admin.display(description=gettext_lazy("last sent"))
    def told_when(self, target: NotificationTarget) -> SafeString:
        return cells.moment(target.last_told_at)

    @admin.display(description=gettext_lazy("last error"))
    def trouble(self, target: NotificationTarget) -> str:
        return target.last_error or cells.NOTHING

    @admin.display(description=gettext_lazy("last error at"))
    def trouble_when(self, target: NotificationTarget) -> SafeString:
        return cells.moment(target.last_error_at) if target.last_error else cells.NOTHING

    @admin.display(description=gettext_lazy("next try"))
    def next_try(self, target: NotificationTarget) -> SafeString:
        return cells.ago(target.try_again_at)
