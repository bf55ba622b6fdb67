"""Cluster tasks: when each timer is due again, and how each task failed last."""

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.lists import ReadOnlyAdmin
from replication.cluster.monitor import error_of
from replication.models import ClusterTask

SHOWN_CHARACTERS = 120


@admin.register(ClusterTask)
class ClusterTaskAdmin(ReadOnlyAdmin):
    list_display = ("short_name", "due_again", "failed_last", "failed_on", "error")
    ordering = ("name",)
    fields = ("name", "due_again", "failed_last", "failed_on", "failure")

    @admin.display(description=_("task"))
    def short_name(self, task: ClusterTask) -> str:
        return task.name.rpartition(".")[2]

    @admin.display(description=_("due again"))
    def due_again(self, task: ClusterTask) -> SafeString:
        return cells.ago(task.due_at)

    @admin.display(description=_("failed last"))
    def failed_last(self, task: ClusterTask) -> SafeString:
        return cells.ago(task.failed_at)

    @admin.display(description=_("error"))
    def error(self, task: ClusterTask) -> str:
        return Truncator(error_of(task.failure)).chars(SHOWN_CHARACTERS) or cells.NOTHING
