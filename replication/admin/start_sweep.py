"""The page on which a sweep of a rule is started, and the offer of a backfill for a new rule."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin.audited import actor_of
from replication.admin.sweep_forms import Purpose, StartForm
from replication.models import UNENDED, ReplicationRule, SourceKind
from replication.operations import sweeps
from replication.sweep.counting import Counted, count_objects
from replication.sweep.lifecycle import LIMITS, CantStart

PARTS = (
    (gettext_lazy("What"), ("purpose", "mends_extras", "prefix", "level")),
    (gettext_lazy("Limits"), (*LIMITS, "settle_minutes")),
)


def may_start(request: HttpRequest) -> bool:
    """Whether the user may start sweeps."""
    return request.user.has_perm("replication.operate_sweep")


def start_sweep_view(request: HttpRequest, rule_id: int, model_admin: Any) -> HttpResponse:
    """Start a sweep of the rule, and show its page."""
    rules = ReplicationRule.objects.select_related("source", "destination")
    rule = get_object_or_404(rules, pk=rule_id)
    if not may_start(request):
        raise PermissionDenied
    asked = request.GET.get("purpose")
    initial = {"purpose": asked} if asked in Purpose and rule.enabled else {}
    form = StartForm(request.POST or None, rule=rule, initial=initial)
    if form.is_valid():
        try:
            sweep = sweeps.start(rule, form.kind, by=actor_of(request), **form.options)
        except CantStart as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("The sweep was started."))
            return redirect("admin:replication_sweep_change", sweep.pk)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Compare or backfill"),
        "opts": model_admin.opts,
        "rule": rule,
        "can_list": rule.source.kind == SourceKind.S3,
        "under_way": rule.sweeps.filter(state__in=UNENDED).first(),
        "form": form,
        "parts": [
            {"title": title, "fields": [form[name] for name in names if name in form.fields]}
            for title, names in PARTS
        ],
    }
    return render(request, "admin/replication/start_sweep.html", context)


def offer_backfill(request: HttpRequest, rule: ReplicationRule) -> None:
    """Offer to copy the objects that are there already, in a message with a link."""
    if rule.source.kind != SourceKind.S3:
        return
    counted = count_objects(rule)
    if counted.are_all and not counted.objects:
        return
    messages.info(
        request,
        format_html(
            '{} <a href="{}?purpose=backfill">{}</a>',
            _found(rule, counted),
            reverse("admin:replication_replicationrule_sweep", args=[rule.pk]),
            _("Copy them"),
        ),
    )


def _found(rule: ReplicationRule, counted: Counted) -> str:
    bucket = rule.source.bucket
    if not counted.objects:
        return _("Objects that are in %(bucket)s already are not copied by themselves.") % {
            "bucket": bucket
        }
    if counted.are_all:
        text = ngettext(
            "%(number)s object is in %(bucket)s already.",
            "%(number)s objects are in %(bucket)s already.",
            counted.objects,
        )
    else:
        text = _("At least %(number)s objects are in %(bucket)s already.")
    return text % {"number": f"{counted.objects:,}", "bucket": bucket}
