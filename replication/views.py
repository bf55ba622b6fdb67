"""What is answered outside of the admin and the API: probes, metrics, and the status page."""

import structlog
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django.views.defaults import page_not_found

from replication.api.authentication import BearerToken
from replication.api.refusals import (
    Refused,
    database_unavailable,
    not_found,
    refuse,
    unauthorized,
)
from replication.cluster.database import DATABASE_AWAY, why_not_ready
from replication.models import Destination, EventQueue, ReplicationRule, Source
from replication.monitoring.metrics import CONTENT_TYPE, scrape
from replication.monitoring.status import read_status

# The admin's list that shows more of a problem, by the problem's code.
PAGES = {
    "no_lane": "heartbeat",
    "no_poller": "heartbeat",
    "queue_error": "eventqueue",
    "queue_silent": "eventqueue",
    "dead_letters": "deadletter",
    "target_failing": "notificationtarget",
    "rule_paused": "replicationrule",
    "rule_parked": "replicationrule",
    "rule_disabled": "replicationrule",
    "rule_behind": "replicationrule",
    "deletes_braked": "replicationrule",
    "failed_jobs": "failedjob",
}

log = structlog.get_logger(__name__)


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process is up; a database that is down must not make an orchestrator restart it."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """The database can be reached and is migrated."""
    problem = why_not_ready()
    if problem is None:
        return JsonResponse({"status": "ok"})
    log.error("readyz.not_ready", code=problem.code, reason=problem.reason)
    return refuse(503, problem.code, problem.detail)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """What Prometheus scrapes, for whoever has a token, unless the settings open it to all."""
    try:
        if not settings.S3SYNC.metrics_public and not BearerToken()(request):
            return unauthorized(request)
        return HttpResponse(scrape(), content_type=CONTENT_TYPE)
    except Refused as refused:
        return refused.answer()
    except DATABASE_AWAY as error:
        return database_unavailable(request, error)


@require_safe
def status_page(request: HttpRequest) -> HttpResponse:
    """The status for people; the session is in the database too, so all of it can be away."""
    try:
        return _status_page(request)
    except DATABASE_AWAY as error:
        log.error("status_page.database_unavailable", reason=str(error))
        return HttpResponse(
            "The database can't be reached; the server's log has the reason.\n",
            status=503,
            content_type="text/plain; charset=utf-8",
        )


@staff_member_required
def _status_page(request: HttpRequest) -> HttpResponse:
    status = read_status()
    context = {
        **admin.site.each_context(request),
        "title": _("Status"),
        "is_nav_sidebar_enabled": False,
        "status": status,
        "problems": [(problem, _admin_list(PAGES[problem.code])) for problem in status.problems],
        "next_steps": [] if status.rules else _first_steps(),
    }
    return render(request, "status.html", context)


def _first_steps() -> list[tuple[str, str]]:
    """What an installation without a rule lacks, in the order to add it, and where."""
    steps = [
        (Source, _("Add a source: the S3 bucket, and the domains of its objects.")),
        (Destination, _("Add a destination: the OSS bucket.")),
        (ReplicationRule, _("Add a rule from the source to the destination.")),
        (EventQueue, _("Add the SQS queue that the bucket's events arrive in.")),
    ]
    return [
        (text, reverse(f"admin:replication_{model._meta.model_name}_add"))
        for model, text in steps
        if not model._default_manager.exists()
    ]


def _admin_list(model_name: str) -> str:
    return reverse(f"admin:replication_{model_name}_changelist")


def page_or_endpoint_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: JSON for callers of the API, a page for people."""
    if request.path.startswith("/api/"):
        return not_found(request, exception)
    return page_not_found(request, exception)
