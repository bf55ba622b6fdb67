"""The actions on jobs: each makes one call, and one message reports the result."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin.audited import actor_of
from replication.models import TransferJob
from replication.operations import actions


class OperatesJobs:
    """Mixin of a ModelAdmin: users who may operate jobs can retry and cancel them."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_transferjob")


@admin.action(description=gettext_lazy("Retry the selected jobs"), permissions=["operate"])
def retry(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    done = actions.retry(queryset, by=actor_of(request))
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
    messages.success(request, " ".join(sentences))


@admin.action(description=gettext_lazy("Cancel the selected pending jobs"), permissions=["operate"])
def cancel(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    selected = queryset.count()
    cancelled = actions.cancel(queryset, by=actor_of(request))
    sentences = [
        ngettext("%d job was cancelled.", "%d jobs were cancelled.", cancelled) % cancelled
    ]
    if others := selected - cancelled:
        sentences.append(
            ngettext(
                "%d was not pending and was not changed.",
                "%d were not pending and were not changed.",
                others,
            )
            % others
        )
    messages.add_message(
        request, messages.SUCCESS if cancelled else messages.WARNING, " ".join(sentences)
    )
