"""The HTTP API under /api/v1: events in, status out. docs/api.md describes it."""

from django.http import HttpRequest
from ninja import NinjaAPI

from replication.api import events
from replication.api.refusals import BearerToken, Refusal, Refused, answer_errors_in_one_shape
from replication.status import VERSION, Status, read_status

api = NinjaAPI(
    title="s3sync",
    version=VERSION,
    urls_namespace="api",
    auth=BearerToken(),
    docs_url=None,  # Swagger UI comes from a CDN, which our Content-Security-Policy forbids
)
answer_errors_in_one_shape(api)
api.add_router("", events.router)


@api.get("/status", response={200: Status, 401: Refusal, 503: Refusal})
def status(request: HttpRequest) -> Status:
    """How replication is doing: the numbers, and what needs a person, in words."""
    return read_status()


@api.api_operation(["DELETE", "PATCH", "POST", "PUT"], "/status", include_in_schema=False)
def status_is_only_read(request: HttpRequest) -> None:
    raise Refused(405, "method_not_allowed", "Use GET here.", headers={"Allow": "GET"})
