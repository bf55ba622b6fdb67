"""The tasks of clusters: when each timer is due again, and how a task failed last."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ClusterTask(models.Model):
    """A function of replication/tasks.py. Timers have a row, and tasks that have ever failed.

    cluster/timers.py writes `due_at`, and cluster/monitor.py the failure.
    """

    name = models.CharField(_("task"), primary_key=True, max_length=63)
    due_at = models.DateTimeField(_("due again"), null=True)  # of timers alone
    failed_at = models.DateTimeField(_("failed last"), null=True)
    failed_on = models.CharField(_("host"), max_length=255, db_default="")
    failure = models.TextField(_("error"), db_default="")

    class Meta:
        verbose_name = _("cluster task")
        verbose_name_plural = _("cluster tasks")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name
