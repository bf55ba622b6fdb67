"""Lets an operator confirm the deletes that a rule's brake holds."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from replication.admin.audited import actor_of
from replication.models import ReplicationRule
from replication.operations import actions


@admin.action(
    description=gettext_lazy("Confirm the waiting deletes of the selected rules"),
    permissions=["operate"],
)
def confirm_deletes(
    model_admin: Any, request: HttpRequest, queryset: QuerySet[ReplicationRule]
) -> None:
    confirmed = actions.confirm_deletes(queryset, by=actor_of(request))
    messages.success(
        request,
        ngettext(
            "%d delete was confirmed and continues.",
            "%d deletes were confirmed and continue.",
            confirmed,
        )
        % confirmed,
    )


@require_POST
def confirm_deletes_view(request: HttpRequest, rule_id: int, model_admin: Any) -> HttpResponse:
    """Run the list's action for the rule of this page."""
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    confirm_deletes(model_admin, request, ReplicationRule.objects.filter(pk=rule_id))
    return redirect("admin:replication_replicationrule_change", rule_id)
