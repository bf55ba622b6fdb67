"""Finds the client address of a login, for the lockout after wrong passwords."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The client address that the nearest proxy saw; without a proxy, the address of the peer.

    The proxy appends the address to X-Forwarded-For; a client can forge everything before it.
    """
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.S3SYNC.https_only else ""
    return forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR")
