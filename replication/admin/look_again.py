"""The page where an operator names keys that a rule should look at again."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin.audited import actor_of
from replication.intake.s3_events import UnparseableMessage, check_key
from replication.models import ReplicationRule
from replication.operations import actions

MAX_KEYS = 10_000
MAX_REPORTED = 10


class LookAgainForm(forms.Form):
    """One key a line, taken as it stands: spaces at either end are a part of the key."""

    keys = forms.CharField(
        label=gettext_lazy("Keys, one a line"),
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 12, "class": "vLargeTextField", "spellcheck": "false"}
        ),
    )

    def clean_keys(self) -> list[str]:
        # Browsers send CRLF. Not splitlines(): a key may contain the other characters it splits at.
        lines = self.cleaned_data["keys"].replace("\r\n", "\n").rstrip("\n").split("\n")
        if len(lines) > MAX_KEYS:
            raise ValidationError(
                _("%(count)d keys are too many at once; enter at most %(limit)d.")
                % {"count": len(lines), "limit": MAX_KEYS}
            )
        problems = []
        for number, line in enumerate(lines, start=1):
            try:
                check_key(line, where=_("Line %d") % number)
            except UnparseableMessage as error:
                problems.append(f"{error}.")
        if problems:
            raise ValidationError(problems[:MAX_REPORTED])
        return lines


def look_again_view(request: HttpRequest, rule_id: int, model_admin: Any) -> HttpResponse:
    """Make a job for each key that is entered, whatever the rule's prefix and suffix."""
    rule = get_object_or_404(ReplicationRule, pk=rule_id)
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    form = LookAgainForm(request.POST or None)
    if form.is_valid():
        keys = form.cleaned_data["keys"]
        made = len(actions.look_again(rule, keys, by=actor_of(request)))
        messages.success(
            request,
            ngettext("%d key will be looked at.", "%d keys will be looked at.", made) % made,
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
