"""Jobs: a list that stays fast with millions of rows, and a page with all about one job."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from replication.admin import cells
from replication.admin.job_actions import OperatesJobs, cancel, retry
from replication.admin.lists import ReadOnlyAdmin
from replication.admin.uploads_under_way import upload_progress
from replication.models import DeletePermit, Job, JobState, Outcome, TransferJob
from replication.operations.proof import proof_of, replica_key, verdict_of

WITH_REMARKS = "with_remarks"
RETRYING = "retrying"  # not a state: pending jobs that were tried before
HELD = "held"  # not a state: pending jobs whose delete waits for a person

# A partial index holds the few rows of these states. Every other filter searches the newest jobs
# only: a search for a rare state or rule would otherwise read the whole table.
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


class ResultFilter(admin.SimpleListFilter):
    """The outcomes of completed jobs; "with remarks": the replica differs in some way."""

    title = _("result")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        choices = [(outcome.value, outcome.label) for outcome in Outcome]
        choices.insert(1, (WITH_REMARKS, _("copied, with remarks")))
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == WITH_REMARKS:
            return queryset.filter(outcome=Outcome.COPIED, remarks__gt="")
        return queryset.filter(outcome=self.value()) if self.value() else queryset


@admin.register(TransferJob)
class JobAdmin(OperatesJobs, ReadOnlyAdmin):
    """The queue and the history as one list, at the address and with the permissions of the queue:
    a job keeps its page when it ends."""

    list_display = ("key_cell", "state_cell", "rule", "result", "size", "lag", "tries", "changed")
    list_filter = (StateFilter, ResultFilter, "rule")
    list_select_related = ("rule",)
    ordering = ("-id",)
    actions = (retry, cancel)
    search_fields = ("key",)  # see get_search_results
    search_help_text = _("Enter the beginning of a key. Without one, the newest jobs are listed.")
    fields = ()
    change_form_template = "admin/replication/job.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return Job.objects.all()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        if search_term:
            return queryset.filter(key__startswith=search_term), False
        if request.GET.get("state") in INDEXED_STATES:
            return queryset, False
        newest = Job.objects.order_by("-id").values_list("id", flat=True)[:1]
        newest_id = next(iter(newest), 0)
        return queryset.filter(id__gt=newest_id - NEWEST_JOBS), False

    # -- the list ------------------------------------------------------------------------------

    @admin.display(description=_("key"))
    def key_cell(self, job: Job) -> SafeString:
        return cells.short_key(job.key)

    @admin.display(description=_("state"))
    def state_cell(self, job: Job) -> SafeString:
        return cells.job_state(job)

    @admin.display(description=_("result"))
    def result(self, job: Job) -> SafeString:
        return cells.job_result(job)

    @admin.display(description=_("size"))
    def size(self, job: Job) -> str:
        return cells.size(job.size_bytes)

    @admin.display(description=_("lag"))
    def lag(self, job: Job) -> str:
        return cells.duration(job.lag)

    @admin.display(description=_("tries"))
    def tries(self, job: Job) -> str:
        return str(job.attempt) if job.attempt else ""

    @admin.display(description=_("when"))
    def changed(self, job: Job) -> SafeString:
        return cells.ago(job.finalized_at or job.enqueued_at)

    # -- one job -------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        operate = self.admin_site.admin_view(self.operate_view)
        name = "replication_transferjob"
        return [
            path("<int:job_id>/retry/", operate, {"action": retry}, name=f"{name}_retry"),
            path("<int:job_id>/cancel/", operate, {"action": cancel}, name=f"{name}_cancel"),
            path(
                "<int:job_id>/proof.json",
                self.admin_site.admin_view(self.proof_view),
                name=f"{name}_proof",
            ),
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

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        job: Job = context["original"]
        context["road"] = job.rule_then
        context["asked_key"] = job.rule_then.destination_key(job.key)
        context["replica_key"] = replica_key(job)
        context["verdict"] = verdict_of(job) if job.outcome else None
        context["upload"] = upload_progress(job)
        return super().render_change_form(request, context, *args, **options)

    @method_decorator(require_safe)
    def proof_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The proof of a completed job as a file, as described in docs/guides/proof.md."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        related = ("rule__source", "rule__destination")
        job = Job.objects.select_related(*related).filter(pk=job_id).first()
        if job is None or job.state != JobState.COMPLETED:
            return HttpResponseNotFound(_why_no_proof(job_id, job), content_type="text/plain")
        return JsonResponse(
            asdict(proof_of(job)),
            json_dumps_params={"indent": 2, "ensure_ascii": False},
            headers={"Content-Disposition": f'attachment; filename="s3sync-proof-{job_id}.json"'},
        )

    @method_decorator(require_POST)
    def operate_view(
        self, request: HttpRequest, job_id: int, action: Callable[..., None]
    ) -> HttpResponse:
        """Run the list's action for the job of this page."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        action(self, request, TransferJob.objects.filter(pk=job_id))
        return redirect("admin:replication_transferjob_change", job_id)


def _why_no_proof(job_id: int, job: Job | None) -> str:
    if job is None:
        return gettext(
            "There is no job %(id)d. Finished jobs are deleted some days after their end, "
            "together with their proof.\n"
        ) % {"id": job_id}
    return gettext("Job %(id)d is %(state)s: only a completed job has a proof.\n") % {
        "id": job_id,
        "state": job.get_state_display(),
    }
