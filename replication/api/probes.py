"""Endpoints for machines outside the API: health, readiness and metrics."""

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
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
from replication.monitoring.metrics import CONTENT_TYPE, scrape

log = structlog.get_logger(__name__)


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the process is up: a database that is down must not cause a restart."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 if the database can be reached and is migrated, else 503."""
    problem = why_not_ready()
    if problem is None:
        return JsonResponse({"status": "ok"})
    log.error("readyz.not_ready", code=problem.code, reason=problem.reason)
    return refuse(503, problem.code, problem.detail)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics for Prometheus; a token is required unless S3SYNC_METRICS_PUBLIC is set."""
    try:
        if not settings.S3SYNC.metrics_public and not BearerToken()(request):
            return unauthorized(request)
        return HttpResponse(scrape(), content_type=CONTENT_TYPE)
    except Refused as refused:
        return refused.answer()
    except DATABASE_AWAY as error:
        return database_unavailable(request, error)


def page_or_endpoint_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: JSON for API callers, a page for people."""
    if request.path.startswith("/api/"):
        return not_found(request, exception)
    return page_not_found(request, exception)
