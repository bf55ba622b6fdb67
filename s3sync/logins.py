"""Where a login comes from, for the lockout after wrong passwords."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The address that the nearest proxy saw, or who connects where there is none.

    A proxy adds it at the end of X-Forwarded-For; what stands before that, anybody can write.
    """
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.S3SYNC.https_only else ""
    return forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR")
