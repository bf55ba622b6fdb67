"""The HTTP API under /api/v1: it takes events, reports the status, and lets operators act.

docs/reference/api.md describes it.
"""

from collections.abc import Callable

from django.http import HttpRequest
from ninja import NinjaAPI, Router

from replication.api import dead_letters, events, jobs, rules, sweeps
from replication.api.authentication import BearerToken, caller_of
from replication.api.limits import CallLimit
from replication.api.refusals import Refused, add_error_handlers, refusals
from replication.monitoring.status import VERSION, Status, read_status, read_status_of

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}

router = Router(tags=["status"])


@router.get("/status", response={200: Status, **refusals()})
def status(request: HttpRequest) -> Status:
    """Return the state of replication: the numbers, and the problems in words."""
    rule_ids = caller_of(request).rule_ids
    return read_status() if rule_ids is None else read_status_of(rule_ids)


ROUTERS = (
    *(events.router, router, rules.router, sweeps.router),
    *(jobs.router, dead_letters.router),
)


def _refuse_other_methods(router: Router) -> None:
    """Answer the other methods of each path with 405, in the format of all refusals."""
    for view in router.path_operations.values():
        known = {method for operation in view.operations for method in operation.methods}
        refuse = _refuser(allowed=", ".join(sorted(known)))
        # Without the path: ninja would require the ids in it as arguments.
        view.add_operation("", sorted(METHODS - known), refuse, include_in_schema=False)


def _refuser(*, allowed: str) -> Callable[[HttpRequest], None]:
    def refuse(request: HttpRequest) -> None:
        raise Refused(
            405, "method_not_allowed", f"Use {allowed} for this path.", headers={"Allow": allowed}
        )

    return refuse


def _make_api() -> NinjaAPI:
    api = NinjaAPI(
        title="s3sync",
        version=VERSION,
        description="docs/reference/api.md explains each call.",
        urls_namespace="api",
        auth=BearerToken(),
        throttle=CallLimit("api_calls_per_second"),
        docs_url=None,  # Swagger UI comes from a CDN, which our Content-Security-Policy forbids
    )
    add_error_handlers(api)
    for each in ROUTERS:
        _refuse_other_methods(each)
        api.add_router("", each)
    return api


api = _make_api()
