"""Jobs: a list that stays fast on millions of rows, and the whole story of each."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from replication.admin import cells
from replication.admin.job_actions import OperatesJobs, cancel, retry
from replication.admin.lists import ReadOnlyAdmin
from replication.models import DeletePermit, JobState, TransferJob

RETRYING = "retrying"  # a label for pending jobs that were tried before
HELD = "held"  # for those whose delete waits for a person

# A partial index holds these states' few rows. All else is looked for among the newest jobs: a
# rare state or rule would otherwise be looked for in all rows there ever were.
INDEXED_STATES = {JobState.PENDING, RETRYING, HELD, JobState.RUNNING, JobState.FAILED}
NEWEST_JOBS = 200_000


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        choices = [(state.value, state.label) for state in JobState]
        choices[1:1] = [(RETRYING, _("retrying")), (HELD, _("delete held"))]
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == RETRYING:
            return queryset.filter(state=JobState.PENDING, attempt__gt=0)
        if self.value() == HELD:
            held = DeletePermit.AWAITED
            return queryset.filter(state=JobState.PENDING, delete_permit=held)
        return queryset.filter(state=self.value()) if self.value() else queryset


@admin.register(TransferJob)
class JobAdmin(OperatesJobs, ReadOnlyAdmin):
    list_display = ("key_cell", "state_cell", "rule", "result", "size", "lag", "tries", "changed")
    list_filter = (StateFilter, "rule")
    list_select_related = ("rule",)
    ordering = ("-id",)
    actions = (retry, cancel)
    search_fields = ("key",)  # get_search_results says how
    search_help_text = _("The beginning of a key. Without it, the newest jobs are listed.")
    fields = ()
    change_form_template = "admin/replication/job.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        if search_term:
            return queryset.filter(key__startswith=search_term), False
        if request.GET.get("state") in INDEXED_STATES:
            return queryset, False
        newest_id = TransferJob.objects.aggregate(newest=Max("id"))["newest"] or 0
        return queryset.filter(id__gt=newest_id - NEWEST_JOBS), False

    # -- the list ------------------------------------------------------------------------------

    @admin.display(description=_("key"))
    def key_cell(self, job: TransferJob) -> SafeString:
        return cells.short_key(job.key)

    @admin.display(description=_("state"))
    def state_cell(self, job: TransferJob) -> SafeString:
        return cells.job_state(job)

    @admin.display(description=_("result"))
    def result(self, job: TransferJob) -> SafeString:
        return cells.job_result(job)

    @admin.display(description=_("size"))
    def size(self, job: TransferJob) -> str:
        return cells.size(job.size_bytes)

    @admin.display(description=_("lag"))
    def lag(self, job: TransferJob) -> str:
        return cells.duration(job.lag)

    @admin.display(description=_("tries"))
    def tries(self, job: TransferJob) -> str:
        return str(job.attempt) if job.attempt else ""

    @admin.display(description=_("when"))
    def changed(self, job: TransferJob) -> SafeString:
        return cells.ago(job.finalized_at or job.enqueued_at)

    # -- one job -------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        operate = self.admin_site.admin_view(self.operate_view)
        name = "replication_transferjob"
        return [
            path("<int:job_id>/retry/", operate, {"action": retry}, name=f"{name}_retry"),
            path("<int:job_id>/cancel/", operate, {"action": cancel}, name=f"{name}_cancel"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"may_operate": self.has_operate_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @method_decorator(require_POST)
    def operate_view(
        self, request: HttpRequest, job_id: int, action: Callable[..., None]
    ) -> HttpResponse:
        """What the list's action does, for the one job of the page."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        action(self, request, TransferJob.objects.filter(pk=job_id))
        return redirect("admin:replication_transferjob_change", job_id)
