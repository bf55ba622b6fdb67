"""The status page, for people."""

import structlog
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from replication.cluster.database import DATABASE_AWAY
from replication.models import Destination, EventQueue, ReplicationRule, Source
from replication.monitoring.status import Problem, read_status

# The admin list that shows more about a problem, by the problem's code; "" if there is none.
PROBLEM_LISTS = {
    "no_lane": "heartbeat",
    "no_poller": "heartbeat",
    "queue_error": "eventqueue",
    "queue_silent": "eventqueue",
    "dead_letters": "deadletter",
    "target_failing": "notificationtarget",
    "token_ends": "apitoken",
    "uploads_not_aborted": "uploadtoabort",
    "rules_collide": "replicationrule",
    "rule_paused": "replicationrule",
    "rule_parked": "replicationrule",
    "old_transaction": "",
    "queue_bloated": "",
    "history_without_day": "",
    "circuit_open": "replicationrule",
    "events_lost": "sweep",
    "sweep_failed": "sweep",
    "canary_failed": "replicationrule",
    "canary_silent": "replicationrule",
    "not_getting_through": "transferjob",
    "running_long": "transferjob",
    "rule_disabled": "replicationrule",
    "rule_behind": "replicationrule",
    "deletes_braked": "replicationrule",
    "deletes_held": "replicationrule",
    "failed_jobs": "failedjob",
}

log = structlog.get_logger(__name__)


@require_safe
def status_page(request: HttpRequest) -> HttpResponse:
    """The status, or 503: without the database there is not even a session to check."""
    try:
        return _status_page(request)
    except DATABASE_AWAY as error:
        log.error("status_page.database_unavailable", reason=str(error))
        return HttpResponse(
            "The database can't be reached; the server's log has the reason.\n",
            status=503,
            content_type="text/plain; charset=utf-8",
        )


@never_cache
@staff_member_required
def _status_page(request: HttpRequest) -> HttpResponse:
    """Raises PermissionDenied for a user without any right in s3sync."""
    if not request.user.has_module_perms("replication"):
        raise PermissionDenied
    status = read_status()
    context = {
        **admin.site.each_context(request),
        "title": _("Status"),
        "is_nav_sidebar_enabled": False,
        "status": status,
        "problems": [(problem, list_of(problem)) for problem in status.problems],
        "next_steps": [] if status.rules else _first_steps(),
    }
    return render(request, "status.html", context)


def _first_steps() -> list[tuple[str, str]]:
    """What an installation without a rule still needs, in the order to add it, with links."""
    steps = [
        (Source, _("Add a source: the S3 bucket and its domains.")),
        (Destination, _("Add a destination: the OSS bucket.")),
        (ReplicationRule, _("Add a rule from the source to the destination.")),
        (EventQueue, _("Add the SQS queue that receives the bucket's events.")),
    ]
    return [
        (text, reverse(f"admin:replication_{model._meta.model_name}_add"))
        for model, text in steps
        if not model._default_manager.exists()
    ]


def list_of(problem: Problem) -> str:
    """The address of the admin list that shows more about the problem; "" if there is none."""
    model_name = PROBLEM_LISTS[problem.code]
    return _admin_list(model_name) if model_name else ""


def _admin_list(model_name: str) -> str:
    return reverse(f"admin:replication_{model_name}_changelist")
