"""Middleware of every request: health probes, a strict Content-Security-Policy, no NUL."""

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest

from replication.api import probes

POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",  # the admin's icons
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ]
)


class ProbeMiddleware:
    """Answers health probes before the Host header is checked.

    Load balancers and kubelets probe by IP address, which ALLOWED_HOSTS can't list in advance.
    """

    PROBES: ClassVar = {"/healthz": probes.healthz, "/readyz": probes.readyz}

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.PROBES.get(request.path, self.get_response)(request)


class ContentSecurityPolicyMiddleware:
    """Browsers run only s3sync's own files: no inline script or style, and no other host's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


class NoNulMiddleware:
    """Refuses a page's address with a NUL in it: PostgreSQL has no text with one.

    Django's forms refuse it themselves, and its lists answer 500. The API has answers of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "%00" in request.get_full_path() and not request.path.startswith("/api/"):
            return HttpResponseBadRequest("The address has a NUL (%00) in it. Remove it.")
        return self.get_response(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 without a look at the request's form: Django's own page reads it for a token of CSRF, and
    fails with 500 where the form is what can't be read."""
    return HttpResponse(
        "<!doctype html><title>Bad Request</title><h1>Bad Request (400)</h1>", status=400
    )
