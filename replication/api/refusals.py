"""Who may call, and the one shape of every answer that is not a success."""

import hmac
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError
from ninja.security import HttpBearer

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


class BearerToken(HttpBearer):
    """`Authorization: Bearer <token>`, with a token of S3SYNC_API_TOKENS."""

    def authenticate(self, request: HttpRequest, token: str) -> bool:
        """Compare with every token, each in constant time."""
        offered = token.encode()
        return any(hmac.compare_digest(offered, t.encode()) for t in settings.S3SYNC.api_tokens)


def answer_errors_in_one_shape(api: NinjaAPI) -> None:
    """Make every error of the API's views a `Refusal`: no HTML, no stack trace."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Refused: _refused,
        AuthenticationError: _unauthorized,
        Http404: not_found,
        OperationalError: _database_unavailable,
        InterfaceError: _database_unavailable,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def refuse(
    status: int, error: str, detail: str, *, headers: dict[str, str] | None = None
) -> JsonResponse:
    return JsonResponse(asdict(Refusal(error, detail)), status=status, headers=headers)


def not_found(request: HttpRequest, error: Exception) -> HttpResponse:
    return refuse(404, "not_found", "There is nothing here; docs/api.md lists what there is.")


def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return JsonResponse(asdict(error.refusal), status=error.status, headers=error.headers)


def _unauthorized(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    if settings.S3SYNC.api_tokens:
        detail = (
            "Send the header `Authorization: Bearer <token>`, with a token of S3SYNC_API_TOKENS."
        )
    else:
        detail = "No token is configured, so nobody may call: set S3SYNC_API_TOKENS."
    log.warning("api.unauthorized", path=request.path, reason=detail)
    return refuse(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _database_unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
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
