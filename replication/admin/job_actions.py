"""What an operator can do to jobs: one call, and one message that says what came of it."""

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
    """Mixin of a ModelAdmin: who may operate jobs may retry and cancel them; nobody edits one."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_transferjob")


@admin.action(description=gettext_lazy("Retry the selected jobs"), permissions=["operate"])
def retry(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    done = actions.retry(queryset, by=actor_of(request))
    if not done.retried + done.superseded:
        messages.warning(request, _("Nothing to retry: no selected job is failed (any more)."))
        return
    said = [ngettext("%d job waits again.", "%d jobs wait again.", done.retried) % done.retried]
    if done.superseded:
        said.append(
            ngettext(
                "%d was superseded by a newer job of the same key.",
                "%d were superseded by newer jobs of the same keys.",
                done.superseded,
            )
            % done.superseded
        )
    messages.success(request, " ".join(said))


@admin.action(description=gettext_lazy("Cancel the selected pending jobs"), permissions=["operate"])
def cancel(model_admin: Any, request: HttpRequest, queryset: QuerySet[TransferJob]) -> None:
    selected = queryset.count()
    cancelled = actions.cancel(queryset, by=actor_of(request))
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
