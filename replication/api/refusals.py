"""The one shape of every answer that is not a success."""

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

# Long enough for a failover or a restart to get somewhere, short against Lambda's own limits.
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Refusal:
    """`error` is a code for machines; `detail` says what is wrong and what to do."""

    error: str
    detail: str


class Refused(Exception):
    """Answer with this status and refusal."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.refusal = Refusal(error, detail)
        self.headers = headers

    def answer(self) -> JsonResponse:
        return JsonResponse(asdict(self.refusal), status=self.status, headers=self.headers)


def refusals(*statuses: int) -> dict[tuple[int, ...], type[Refusal]]:
    """What an endpoint may answer besides its success: these statuses, and what every one may."""
    return {(401, *statuses, 429, 503): Refusal}


def answer_errors_in_one_shape(api: NinjaAPI) -> None:
    """Make every error of the API's views a `Refusal`: no HTML, no stack trace."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Refused: _refused,
        AuthenticationError: unauthorized,
        Throttled: _too_many_calls,
        ValidationError: _invalid_request,
        HttpError: _unreadable_request,
        RequestDataTooBig: _too_large,
        Http404: not_found,
        ObjectDoesNotExist: _gone_meanwhile,
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
        404, "not_found", "There is nothing here; docs/reference/api.md lists what there is."
    )


def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return error.answer()


def unauthorized(request: HttpRequest, error: Exception | None = None) -> HttpResponse:
    detail = (
        "Send the header `Authorization: Bearer <token>`, with a token that "
        "`manage.py apitoken create` made, or one of S3SYNC_API_TOKENS."
    )
    log.warning("api.unauthorized", path=request.path, reason=detail)
    return refuse(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _too_many_calls(request: HttpRequest, error: Throttled) -> HttpResponse:
    # ninja adds Retry-After.
    return refuse(
        429, "too_many_calls", "Too many calls: send this again after the seconds of Retry-After."
    )


def _invalid_request(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name each wrong field, without repeating what it has."""
    wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors]
    return refuse(422, "invalid_request", f"{'; '.join(wrong)}.")


def _unreadable_request(request: HttpRequest, error: HttpError) -> HttpResponse:
    return refuse(422, "invalid_request", f"The request can't be read: {error}.")


def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return refuse(413, "too_large", "The body is too large: send several.")


def _gone_meanwhile(request: HttpRequest, error: ObjectDoesNotExist) -> HttpResponse:
    return refuse(404, "not_found", "It was deleted just now.")


def database_unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api.database_unavailable", path=request.path, reason=str(error))
    return refuse(
        503,
        "database_unavailable",
        "The database can't be reached. Nothing was taken: send this again later.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("api.failed", path=request.path, exc_info=error)
    return refuse(500, "unexpected", "Something went wrong here; the server's log has the error.")
