"""The one format of every answer that is not a success."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError

log = structlog.get_logger(__name__)

# Long enough for a failover or a restart to progress, short compared with Lambda's own limits.
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Refusal:
    """`error` is a code for machines; `detail` says what is wrong and what to do."""

    error: str
    detail: str


class Refused(Exception):
    """Raised to answer with this status and refusal."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.refusal = Refusal(error, detail)
        self.headers = headers

    def answer(self) -> JsonResponse:
        return JsonResponse(asdict(self.refusal), status=self.status, headers=self.headers)


def no_such_rule(name: str) -> Refused:
    """The answer about a rule that does not exist, or that the caller may not see."""
    return Refused(404, "no_such_rule", f"There is no rule {name!r}; GET /api/v1/rules lists all.")


def no_such_job(job_id: int) -> Refused:
    """The answer about a job that does not exist, or of a rule that the caller may not see."""
    return Refused(
        404,
        "no_such_job",
        f"There is no job {job_id}. Finished jobs are deleted some days after their end.",
    )


def no_such_sweep(sweep_id: int) -> Refused:
    """The answer about a sweep that does not exist, or of a rule that the caller may not see."""
    return Refused(
        404, "no_such_sweep", f"There is no sweep {sweep_id}; GET /api/v1/sweeps lists all."
    )


def refusals(*statuses: int) -> dict[tuple[int, ...], type[Refusal]]:
    """An endpoint's answers other than success: these statuses, and those of every endpoint."""
    return {(401, *statuses, 429, 503): Refusal}


def add_error_handlers(api: NinjaAPI) -> None:
    """Answer every error of the API's views with a `Refusal`: no HTML, no stack trace."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Refused: _refused,
        AuthenticationError: unauthorized,
        Throttled: _too_many_calls,
        ValidationError: _invalid_request,
        HttpError: _unreadable_request,
        RequestDataTooBig: _too_large,
        Http404: not_found,
        ObjectDoesNotExist: _deleted_meanwhile,
        OperationalError: database_unavailable,
        InterfaceError: database_unavailable,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def refuse(
    status: int, error: str, detail: str, *, headers: dict[str, str] | None = None
) -> JsonResponse:
    return JsonResponse(asdict(Refusal(error, detail)), status=status, headers=headers)


def not_found(request: HttpRequest, error: Exception) -> HttpResponse:
    return refuse(
        404, "not_found", "This path does not exist; docs/reference/api.md lists all paths."
    )


def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return error.answer()


def unauthorized(request: HttpRequest, error: Exception | None = None) -> HttpResponse:
    detail = (
        "No valid token was sent. Send the header `Authorization: Bearer <token>`, with a token "
        "from `manage.py apitoken create` or from S3SYNC_API_TOKENS."
    )
    log.warning("api.unauthorized", path=request.path, reason=detail)
    return refuse(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _too_many_calls(request: HttpRequest, error: Throttled) -> HttpResponse:
    # ninja adds Retry-After.
    return refuse(
        429, "too_many_calls", "Too many calls. Repeat this call after the seconds in Retry-After."
    )


def _invalid_request(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name each wrong field, without repeating its value."""
    wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors]
    return refuse(422, "invalid_request", f"{'; '.join(wrong)}.")


def _unreadable_request(request: HttpRequest, error: HttpError) -> HttpResponse:
    return refuse(422, "invalid_request", f"The request can't be read: {error}.")


def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return refuse(413, "too_large", "The body is too large. Split it into several calls.")


def _deleted_meanwhile(request: HttpRequest, error: ObjectDoesNotExist) -> HttpResponse:
    return refuse(404, "not_found", "It was deleted during this call.")


def database_unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api.database_unavailable", path=request.path, reason=str(error))
    return refuse(
        503,
        "database_unavailable",
        "The database can't be reached. Nothing was saved. Repeat this call later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api.failed", path=request.path, exc_info=error)
    return refuse(
        500, "unexpected", "An unexpected error occurred; the server's log has the details."
    )
