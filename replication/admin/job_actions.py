"""What an operator can do to jobs: one call, and one message that says what came of it."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication import jobs
from replication.models import JobState, TransferJob


class OperatesJobs:
    """Mixin of a ModelAdmin: who may change jobs may retry and cancel them, not edit them."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.change_transferjob")


@admin.action(description=gettext_lazy("Retry the selected jobs"), permissions=["operate"])
def retry(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    failed = queryset.filter(state=JobState.FAILED).count()
    moved = jobs.retry(queryset)
    if not failed:
        messages.warning(request, _("Nothing to retry: no selected job is failed (any more)."))
        return
    said = [ngettext("%d job waits again.", "%d jobs wait again.", moved) % moved]
    if superseded := failed - moved:
        said.append(
            ngettext(
                "%d was superseded by a newer job of the same key.",
                "%d were superseded by newer jobs of the same keys.",
                superseded,
            )
            % superseded
        )
    messages.success(request, " ".join(said))


@admin.action(description=gettext_lazy("Cancel the selected pending jobs"), permissions=["operate"])
def cancel(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    selected = queryset.count()
    cancelled = jobs.cancel(queryset)
    said = [ngettext("%d job was cancelled.", "%d jobs were cancelled.", cancelled) % cancelled]
    if others := selected - cancelled:
        said.append(
            ngettext(
                "%d was not pending and stays as it is.",
                "%d were not pending and stay as they are.",
                others,
            )
            % others
        )
    messages.add_message(
        request, messages.SUCCESS if cancelled else messages.WARNING, " ".join(said)
    )
