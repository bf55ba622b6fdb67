"""The page where an operator enters keys that a rule must look at again."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin.audited import actor_of
from replication.intake.matching import KeysOutsideRule
from replication.intake.message_fields import UnparseableMessage, check_key
from replication.models import ReplicationRule
from replication.operations import actions

MAX_KEYS = 10_000
MAX_PROBLEMS_SHOWN = 10


class LookAgainForm(forms.Form):
    """One key per line, taken literally: spaces at either end are part of the key."""

    keys = forms.CharField(
        label=gettext_lazy("Keys, one per line"),
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 12, "class": "vLargeTextField", "spellcheck": "false"}
        ),
    )

    def clean_keys(self) -> list[str]:
        # Browsers send CRLF. splitlines() would also split at characters that a key may contain.
        lines = self.cleaned_data["keys"].replace("\r\n", "\n").rstrip("\n").split("\n")
        if len(lines) > MAX_KEYS:
            raise ValidationError(
                _("%(count)d keys are too many. Enter at most %(limit)d at a time.")
                % {"count": len(lines), "limit": MAX_KEYS}
            )
        problems = []
        for number, line in enumerate(lines, start=1):
            try:
                check_key(line, where=_("Line %d") % number)
            except UnparseableMessage as error:
                problems.append(f"{error}.")
        if problems:
            raise ValidationError(problems[:MAX_PROBLEMS_SHOWN])
        return lines


def look_again_view(request: HttpRequest, rule_id: int, model_admin: Any) -> HttpResponse:
    """Create a job for each key entered; of the rule's filters, only the source prefix applies."""
    rule = get_object_or_404(ReplicationRule, pk=rule_id)
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    form = LookAgainForm(request.POST or None)
    if form.is_valid():
        keys = form.cleaned_data["keys"]
        try:
            made = len(actions.look_again(rule, keys, by=actor_of(request)))
        except KeysOutsideRule as error:
            form.add_error("keys", f"{error}.")
        else:
            messages.success(
                request,
                ngettext(
                    "%d key will be looked at again.", "%d keys will be looked at again.", made
                )
                % made,
            )
            return redirect("admin:replication_replicationrule_change", rule.pk)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Look again"),
        "opts": model_admin.opts,
        "rule": rule,
        "form": form,
    }
    return render(request, "admin/replication/look_again.html", context)
