"""What sweeps found, key by key; a person has keys looked at again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin import cells
from replication.admin.audited import actor_of
from replication.admin.lists import ReadOnlyAdmin
from replication.intake.matching import KeysOutsideRule
from replication.models import FindingState, Sweep, SweepFinding
from replication.operations import sweeps
from replication.sweep.causes import MEANING, Cause
from replication.sweep.judging import DIFFERENCES, Verdict

# A search for a rare verdict would otherwise read the findings of all sweeps.
NEWEST_FINDINGS = 200_000
NEWEST_SWEEPS = 10  # to choose from
MOST_AT_ONCE = 10_000  # as many as one may enter by hand


@admin.action(description=gettext_lazy("Look at the selected keys again"), permissions=["operate"])
def look_again(model_admin: Any, request: HttpRequest, queryset: QuerySet[SweepFinding]) -> None:
    first = queryset.order_by("is_ordered", "pk").values_list("pk", flat=True)
    chosen = list(first[: MOST_AT_ONCE + 1])
    try:
        made = sweeps.look_again(
            SweepFinding.objects.filter(pk__in=chosen[:MOST_AT_ONCE]), by=actor_of(request)
        )
    except KeysOutsideRule as error:
        messages.error(request, _("Not all keys are looked at again: %s.") % error)
        return
    text = ngettext("%s key will be looked at again.", "%s keys will be looked at again.", made)
    sentences = [text % f"{made:,}"]
    if len(chosen) > MOST_AT_ONCE:
        sentences.append(_("More are left: repeat the action."))
    messages.success(request, " ".join(sentences))


class SweepFilter(admin.SimpleListFilter):
    """The newest sweeps, and the chosen one."""

    title = gettext_lazy("sweep")
    parameter_name = "sweep"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        all_sweeps = Sweep.objects.select_related("rule").order_by("-pk")
        newest = {sweep.pk: sweep for sweep in all_sweeps[:NEWEST_SWEEPS]}
        chosen = str(request.GET.get("sweep", ""))
        if chosen.isdecimal() and len(chosen) < 19 and int(chosen) not in newest:
            newest |= {sweep.pk: sweep for sweep in all_sweeps.filter(pk=int(chosen))}
        return [(str(pk), f"{pk}: {sweep}") for pk, sweep in newest.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if not self.value():
            return queryset
        known = {pk for pk, _label in self.lookup_choices}
        if self.value() not in known:
            return queryset.none()
        return queryset.filter(sweep=int(self.value() or 0))


class VerdictFilter(admin.SimpleListFilter):
    title = gettext_lazy("verdict")
    parameter_name = "verdict"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        never = {Verdict.EQUAL, Verdict.LEFT_OUT}
        return [(one.value, one.value) for one in Verdict if one not in never]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(verdict=self.value()) if self.value() else queryset


class CauseFilter(admin.SimpleListFilter):
    title = gettext_lazy("cause")
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(one.value, one.value) for one in Cause]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(cause=self.value()) if self.value() else queryset


BADGES = {
    FindingState.SEEN: "retrying",
    FindingState.CONFIRMED: "failed",
    FindingState.MENDED: "completed",
    FindingState.GONE: "completed",
}


def finding_state(finding: SweepFinding) -> SafeString:
    """The state of a finding, coloured."""
    if finding.verdict not in DIFFERENCES:
        return cells.badge("reported", _("reported"))  # nothing to mend, nor to look at again
    return cells.badge(BADGES[FindingState(finding.state)], finding.get_state_display())


def finding_cause(finding: SweepFinding) -> str:
    """Why a key differs, in words, with the error of its last job."""
    cause = MEANING[Cause(finding.cause)] if finding.cause else ""
    return "; ".join(filter(None, [cause, finding.code])) or cells.NOTHING


@admin.register(SweepFinding)
class FindingAdmin(ReadOnlyAdmin):
    list_display = ("key_cell", "verdict", "why", "state_badge", "size", "replica", "sweep")
    list_filter = (SweepFilter, VerdictFilter, CauseFilter, "state")
    list_select_related = ("sweep__rule",)
    actions = (look_again,)
    search_fields = ("key",)  # see get_search_results
    search_help_text = gettext_lazy("Enter the beginning of a key.")
    fields = (
        *("key_whole", "sweep", "verdict", "why", "reason", "state_badge", "is_ordered"),
        *("source_size", "source_etag", "source_modified"),
        *("replica_size", "replica_etag", "replica_modified"),
    )
    readonly_fields = fields

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_sweep")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("key",) if request.GET.get("sweep") else ("-pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        if search_term:
            queryset = queryset.filter(key__startswith=search_term)
        if request.GET.get("sweep"):
            return queryset, False
        newest_id = SweepFinding.objects.aggregate(newest=Max("id"))["newest"] or 0
        return queryset.filter(id__gt=newest_id - NEWEST_FINDINGS), False

    @admin.display(description=gettext_lazy("key"))
    def key_cell(self, finding: SweepFinding) -> SafeString:
        return cells.short_key(finding.key)

    @admin.display(description=gettext_lazy("key"))
    def key_whole(self, finding: SweepFinding) -> SafeString:
        return cells.key(finding.key)

    @admin.display(description=gettext_lazy("why"))
    def why(self, finding: SweepFinding) -> str:
        return finding_cause(finding)

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, finding: SweepFinding) -> SafeString:
        return finding_state(finding)

    @admin.display(description=gettext_lazy("size"))
    def size(self, finding: SweepFinding) -> str:
        return cells.size(finding.source_size)

    @admin.display(description=gettext_lazy("in OSS"))
    def replica(self, finding: SweepFinding) -> str:
        return cells.size(finding.replica_size)
