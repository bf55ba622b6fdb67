"""The actions on jobs: each makes one call, and one message reports the result."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin.audited import actor_of
from replication.models import FailedJob, Job, JobState, TransferJob
from replication.operations import actions

# So many take some seconds, and a request must end within half a minute.
MAX_AT_ONCE = 100_000


class OperatesJobs:
    """Mixin of a ModelAdmin: users who may operate jobs can retry and cancel them."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_transferjob")


@admin.action(description=gettext_lazy("Retry the selected jobs"), permissions=["operate"])
def retry(model_admin: Any, request: HttpRequest, queryset: QuerySet[Job]) -> None:
    chosen, left = _limited(queryset, JobState.FAILED)
    done = actions.retry(chosen, by=actor_of(request))
    if not done.retried + done.superseded:
        messages.warning(
            request, _("No job was retried: none of the selected jobs is in the state failed.")
        )
        return
    sentences = [
        ngettext("%d job will be retried.", "%d jobs will be retried.", done.retried) % done.retried
    ]
    if done.superseded:
        sentences.append(
            ngettext(
                "%d was superseded by a newer job for the same key.",
                "%d were superseded by newer jobs for the same keys.",
                done.superseded,
            )
            % done.superseded
        )
    messages.success(request, " ".join([*sentences, *_about(left)]))


@admin.action(description=gettext_lazy("Cancel the selected pending jobs"), permissions=["operate"])
def cancel(model_admin: Any, request: HttpRequest, queryset: QuerySet[Job]) -> None:
    selected = queryset.count()
    chosen, left = _limited(queryset, JobState.PENDING)
    cancelled = actions.cancel(chosen, by=actor_of(request))
    sentences = [
        ngettext("%d job was cancelled.", "%d jobs were cancelled.", cancelled) % cancelled
    ]
    if others := selected - cancelled - left:
        sentences.append(
            ngettext(
                "%d was not pending and was not changed.",
                "%d were not pending and were not changed.",
                others,
            )
            % others
        )
    messages.add_message(
        request,
        messages.SUCCESS if cancelled else messages.WARNING,
        " ".join([*sentences, *_about(left)]),
    )


def _limited(
    selected: QuerySet[Job] | QuerySet[FailedJob], state: JobState
) -> tuple[QuerySet[TransferJob], int]:
    """The jobs of the queue in this state, at most MAX_AT_ONCE, and how many more there are."""
    matching = selected.filter(state=state).order_by("id")
    job_ids = list(matching.values_list("pk", flat=True)[: MAX_AT_ONCE + 1])
    left = matching.count() - MAX_AT_ONCE if len(job_ids) > MAX_AT_ONCE else 0
    return TransferJob.objects.filter(pk__in=job_ids[:MAX_AT_ONCE]), left


def _about(left: int) -> list[str]:
    sentence = ngettext(
        "%d more is left: repeat the action.", "%d more are left: repeat the action.", left
    )
    return [sentence % left] if left else []
