"""The pages where an operator sees a rule's held deletes, and confirms exactly those."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from replication.admin import cells
from replication.admin import held_deletes_csv as held_csv
from replication.admin.audited import actor_of
from replication.jobs import held_deletes
from replication.jobs.held_deletes import MAX_SHOWN, HeldDeletes, Place, PrefixCount
from replication.models import DeletePolicy, HoldReason, ReplicationRule
from replication.operations import confirmations
from replication.operations.confirmations import Confirmation, NotAllSeen, Seen

# Above this, a click is not enough: the operator types the number.
TYPED_ABOVE = 1000

MAX_KEYS = 20
MAX_PREFIXES = 10

# Signed, so that only what a page has shown can be confirmed.
_SEEN = "replication.admin.confirm_deletes.seen"
_CONFIRMATION = "replication.admin.confirm_deletes.confirmation"


@require_http_methods(["GET", "HEAD", "POST"])
def confirm_deletes_view(request: HttpRequest, rule_id: int, model_admin: Any) -> HttpResponse:
    """Show the held deletes of the rule; confirm what an earlier answer of this page showed."""
    rule = _rule(request, rule_id, model_admin)
    refusal = ""
    if request.method == "POST":
        try:
            confirmation = _begin(request, rule)
        except _Refused as error:
            refusal = str(error)
        else:
            confirmations.go_on(confirmation)
            return _redirect_to(confirmation)
    held = held_deletes.read(rule.pk)
    prefixes = held_deletes.by_prefix(rule.pk, held, limit=MAX_PREFIXES)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _title(rule, held),
        "opts": model_admin.opts,
        "rule": rule,
        "refusal": refusal,
        "held": held,
        "seen": _signed_seen(rule, held),
        "reasons": [_why(reason, rule) for reason in held.reasons],
        "keys": held_deletes.oldest(rule.pk, limit=MAX_KEYS),
        "prefixes": [_Bar(each, held.count) for each in prefixes],
        "other_prefixes": held.count - sum(each.count for each in prefixes),
        "must_be_typed": held.count > TYPED_ABOVE,
        "keeps_replicas": rule.delete_policy == DeletePolicy.KEEP,
    }
    return render(request, "admin/replication/confirm_deletes.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def confirmation_view(
    request: HttpRequest, rule_id: int, token: str, model_admin: Any
) -> HttpResponse:
    """Show how far a confirmation is; POST confirms some more."""
    rule = _rule(request, rule_id, model_admin)
    confirmation = _confirmation(token, rule)
    if request.method == "POST":
        confirmations.go_on(confirmation)
        return _redirect_to(confirmation)
    progress = confirmations.progress(confirmation)
    since = held_deletes.count(rule.pk, after=confirmation.seen.last)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Confirm deletes"),
        "opts": model_admin.opts,
        "rule": rule,
        "shown": confirmation.seen.count,
        "progress": progress,
        "held_since": since,
        "held_since_text": cells.capped(since, MAX_SHOWN),
    }
    return render(request, "admin/replication/confirmation.html", context)


@require_safe
def held_deletes_csv(request: HttpRequest, rule_id: int, model_admin: Any) -> StreamingHttpResponse:
    """The deletes that a page showed, as CSV; those that are held now without `seen`."""
    rule = _rule(request, rule_id, model_admin)
    if "seen" in request.GET:
        try:
            last = _read_seen(request.GET["seen"], rule).last
        except signing.BadSignature as error:
            raise Http404 from error
    else:
        last = held_deletes.read(rule.pk).last
    return StreamingHttpResponse(
        held_csv.lines(rule.pk, last=last),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="held-deletes-{rule.name}.csv"'},
    )


class _Refused(Exception):
    """Nothing was confirmed; the text says why, and what to do."""


def _rule(request: HttpRequest, rule_id: int, model_admin: Any) -> ReplicationRule:
    rules = ReplicationRule.objects.select_related("source", "destination")
    rule = get_object_or_404(rules, pk=rule_id)
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    return rule


def _begin(request: HttpRequest, rule: ReplicationRule) -> Confirmation:
    """Begin to confirm what the form carries.

    Raises:
        _Refused: the form does not fit what is held now.
    """
    try:
        seen = _read_seen(request.POST.get("seen", ""), rule)
    except signing.BadSignature as error:
        raise _Refused(
            _("Nothing was confirmed: the form was not one of this page. Here is what is held now.")
        ) from error
    if seen.count > TYPED_ABOVE and _typed_number(request) != seen.count:
        raise _Refused(
            _("Nothing was confirmed: the number that you typed is not the number of deletes.")
        )
    try:
        return confirmations.begin(rule, seen, by=actor_of(request))
    except NotAllSeen as error:
        raise _Refused(
            ngettext(
                "Nothing was confirmed: %s more delete was held since you opened the page.",
                "Nothing was confirmed: %s more deletes were held since you opened the page.",
                error.unseen,
            )
            % cells.capped(error.unseen, MAX_SHOWN)
            + " "
            + _(
                "Here is what is held now. If more come each time, pause the rule first: a paused "
                "rule holds no further deletes."
            )
        ) from error


def _typed_number(request: HttpRequest) -> int | None:
    digits = re.sub(r"[\s,.'’]", "", request.POST.get("typed", ""))
    return int(digits) if re.fullmatch(r"[0-9]{1,18}", digits) else None


# -- what a form and an address carry --------------------------------------------------------------


def _signed_seen(rule: ReplicationRule, held: HeldDeletes) -> str:
    return signing.dumps([rule.pk, *_values(Seen(held.count, held.last))], salt=_SEEN)


def _read_seen(text: str, rule: ReplicationRule) -> Seen:
    """What a page of this rule has shown.

    Raises:
        signing.BadSignature: the text is not from such a page.
    """
    rule_id, *values = signing.loads(text, salt=_SEEN)
    if rule_id != rule.pk:
        raise signing.BadSignature
    return _seen(*values)


def _redirect_to(confirmation: Confirmation) -> HttpResponse:
    values = [confirmation.rule_id, confirmation.entry_id, *_values(confirmation.seen)]
    token = signing.dumps(values, salt=_CONFIRMATION)
    name = "admin:replication_replicationrule_confirmation"
    return redirect(name, confirmation.rule_id, token)


def _confirmation(token: str, rule: ReplicationRule) -> Confirmation:
    try:
        rule_id, entry_id, *values = signing.loads(token, salt=_CONFIRMATION)
    except signing.BadSignature as error:
        raise Http404 from error
    if rule_id != rule.pk:
        raise Http404
    return Confirmation(rule_id, _seen(*values), entry_id)


def _values(seen: Seen) -> tuple[int, str | None, int | None]:
    """For JSON; the time to the microsecond."""
    if seen.last is None:
        return seen.count, None, None
    return seen.count, seen.last.held_at.isoformat(), seen.last.job_id


def _seen(count: int, held_at: str | None, job_id: int | None) -> Seen:
    if held_at is None or job_id is None:
        return Seen(count, None)
    return Seen(count, Place(datetime.fromisoformat(held_at), job_id))


# -- in words --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    prefix: PrefixCount
    total: int

    @property
    def percent(self) -> str:
        """As SVG writes numbers, whatever the language."""
        return f"{100 * self.prefix.count / self.total:.1f}"


def _title(rule: ReplicationRule, held: HeldDeletes) -> str:
    if not held.count:
        return _("No delete is held")
    return ngettext(
        "Delete %(count)s replica in %(place)s?",
        "Delete %(count)s replicas in %(place)s?",
        held.count,
    ) % {"count": f"{held.count:,}", "place": rule.destination.name}


def _why(reason: HoldReason, rule: ReplicationRule) -> str:
    match reason:
        case HoldReason.BRAKE:
            return _(
                "More objects were deleted in %(source)s than the rule allows: %(limits)s."
            ) % {"source": rule.source.name, "limits": _limits(rule)}
        case HoldReason.UNMARKED:
            return _(
                "Replicas have no mark of s3sync, and no job has a record of them: another program "
                "may have written them."
            )
        case HoldReason.OTHER_MARK:
            return _("Replicas are marked as copies of other objects than those that were deleted.")


def _limits(rule: ReplicationRule) -> str:
    limits = []
    if rule.max_deletes_per_hour is not None:
        limits.append(_("%d in an hour") % rule.max_deletes_per_hour)
    if rule.max_delete_percent is not None:
        limits.append(_("%d%% of an hour's jobs") % rule.max_delete_percent)
    return _(", or ").join(limits) or _("its limit was removed since")
