"""Limits logins before a password is hashed; docs/decisions/limits-of-logins.md says why."""

import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from replication.operations import logins_audit
from s3sync import proxies

# Failed logins within WINDOW.
OF_NAME_AT_ADDRESS: int = settings.AXES_FAILURE_LIMIT
OF_ADDRESS = 30
OF_NAME = 20
WINDOW: timedelta = settings.AXES_COOLOFF_TIME
# Logins that one process looks at together. A hash takes half a second of a CPU.
AT_ONCE = 2
BUSY_SECONDS = 5

# In a session: the key in hex that its page for the second factor shows, until it is confirmed.
BEGUN_FACTOR = "second_factor_key"

_places = threading.BoundedSemaphore(AT_ONCE)


def login(request: HttpRequest) -> HttpResponseBase:
    """The admin's login page; a try over a limit is answered without a look at its password."""
    ways = {
        "has_local_logins": settings.S3SYNC.local_logins,
        "has_single_sign_on": bool(settings.S3SYNC.oidc_issuer),
    }
    if request.method != "POST":
        return admin.site.login(request, ways)
    if not settings.S3SYNC.local_logins:
        raise PermissionDenied("S3SYNC_LOCAL_LOGINS is off")
    return limited(request, _claimed_name(request), lambda: admin.site.login(request, ways))


def change_password(request: HttpRequest) -> HttpResponseBase:
    """The admin's page for one's own password; a wrong old one counts as at the login."""
    if request.method != "POST":
        return admin.site.password_change(request)
    name = request.user.get_username()
    answer = limited(request, name, lambda: admin.site.password_change(request))
    if answer.status_code == 302:
        logins_audit.password_changed(request)
        request.session.pop(BEGUN_FACTOR, None)  # who knew the old password may have seen it
    elif isinstance(answer, TemplateResponse) and answer.context_data:
        form = answer.context_data.get("form")
        if form is not None and form.has_error("old_password", "password_incorrect"):
            count_failure(request, name)
    return answer


def limited(
    request: HttpRequest, name: str, answer: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """The answer to a try with a secret of this name; over a limit, nobody looks at the secret."""
    refusal = _refusal(request, name)
    if refusal is not None:
        return refusal
    if not _places.acquire(blocking=False):
        return wait_page(request, _("Many people log in at this moment."), BUSY_SECONDS)
    try:
        return answer()
    finally:
        _places.release()


def count_failure(request: HttpRequest, name: str) -> None:
    """Count a wrong secret of this name, and record it; django-axes does so for wrong passwords."""
    user_login_failed.send(__name__, credentials={"username": name}, request=request)


def counted_address(request: HttpRequest) -> str | None:
    """What django-axes counts by: the client's address, of IPv6 its /64 network."""
    address = proxies.parse_address(request.META.get("REMOTE_ADDR", ""))
    return str(proxies.counted_address(address)) if address else None


def locked_out(request: HttpRequest, *args: object) -> HttpResponse:
    """The answer to the failed login with which django-axes locks a name out at an address."""
    return wait_page(request, _name_at_address(), WINDOW.total_seconds())


def _claimed_name(request: HttpRequest) -> str:
    try:
        field = UsernameField(required=False, max_length=150)
        return str(field.clean(request.POST.get("username", "")))
    except ValidationError as error:
        # Not by the form: it would hash the password all the same.
        raise BadRequest("No user has such a name.") from error


def _refusal(request: HttpRequest, name: str) -> HttpResponse | None:
    address = counted_address(request)
    recent = AccessAttempt.objects.filter(attempt_time__gt=timezone.now() - WINDOW)
    limits = [(recent.filter(username=name, ip_address=address), OF_NAME_AT_ADDRESS)]
    reasons = [_name_at_address()]
    # A stranger's tries must not lock out the people of a name where they usually log in.
    if not logins_audit.has_logged_in(name, address):
        limits += [
            (recent.filter(ip_address=address), OF_ADDRESS),
            (recent.filter(username=name), OF_NAME),
        ]
        reasons += [
            _("Too many wrong passwords from this address."),
            _(
                "Too many wrong passwords for this name, from several addresses. You can log in "
                "now from an address where you have logged in before."
            ),
        ]
    for (attempts, limit), reason in zip(limits, reasons, strict=True):
        until = _limited_until(attempts, limit)
        if until is not None:
            logins_audit.refused(name, request)
            return wait_page(request, reason, (until - timezone.now()).total_seconds())
    return None


def _limited_until(attempts: QuerySet[AccessAttempt], limit: int) -> datetime | None:
    """When fewer than `limit` failures will be left in the window; None if it is so now."""
    total = 0
    newest_first = attempts.order_by("-attempt_time")[:limit]
    for failures, at in newest_first.values_list("failures_since_start", "attempt_time"):
        total += failures
        if total >= limit:
            return at + WINDOW
    return None


def _name_at_address() -> str:
    return _("Too many wrong passwords for this name from this address.")


def wait_page(request: HttpRequest, reason: str, seconds: float) -> HttpResponse:
    """The answer to whoever must wait so long, with the reason."""
    seconds = max(1, math.ceil(seconds))
    context = {
        "title": _("Wait"),
        "reason": reason,
        "seconds": seconds,
        "minutes": math.ceil(seconds / 60),
        "is_lockout": seconds > BUSY_SECONDS,
        "site_header": admin.site.site_header,
    }
    answer = render(request, settings.AXES_LOCKOUT_TEMPLATE, context, status=429)
    answer["Retry-After"] = str(seconds)
    answer["Cache-Control"] = "no-store"
    return answer
