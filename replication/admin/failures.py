"""Failures: the failed jobs, each with its cause and what to do about it."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.job_actions import OperatesJobs, retry
from replication.admin.lists import MAX_LISTED, ReadOnlyAdmin
from replication.errors import MEANINGS, ErrorCode
from replication.models import FailedJob


class CauseFilter(admin.SimpleListFilter):
    """Offers the causes of the newest failures, in words."""

    title = _("cause")
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = FailedJob.objects.order_by("-finalized_at")[:MAX_LISTED]
        codes = sorted(set(newest.values_list("error_code", flat=True)))
        return [(code, MEANINGS[ErrorCode(code)].cause) for code in codes]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(error_code=self.value()) if self.value() else queryset


@admin.register(FailedJob)
class FailureAdmin(OperatesJobs, ReadOnlyAdmin):
    list_display = ("key_cell", "rule", "cause", "hint", "tries", "failed")
    list_display_links = None
    list_filter = ("rule", CauseFilter)
    list_select_related = ("rule",)
    ordering = ("-finalized_at",)  # served by the index job_failed
    actions = (retry,)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("replication.view_transferjob") or self.has_operate_permission(
            request
        )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any) -> HttpResponse:
        return redirect("admin:replication_transferjob_change", object_id)

    @admin.display(description=_("key"))
    def key_cell(self, job: FailedJob) -> SafeString:
        url = reverse("admin:replication_transferjob_change", args=[job.pk])
        return format_html('<a href="{}">{}</a>', url, cells.short_key(job.key))

    @admin.display(description=_("cause"))
    def cause(self, job: FailedJob) -> str:
        return job.error.cause if job.error else cells.NOTHING

    @admin.display(description=_("what to do"))
    def hint(self, job: FailedJob) -> str:
        return job.error.hint if job.error else cells.NOTHING

    @admin.display(description=_("tries"))
    def tries(self, job: FailedJob) -> str:
        return str(job.attempt)

    @admin.display(description=_("failed"))
    def failed(self, job: FailedJob) -> SafeString:
        return cells.ago(job.finalized_at)
