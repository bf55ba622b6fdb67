"""The two addresses of single sign-on: the way to the provider, and the way back."""

import threading
from typing import Any

import structlog
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate
from django.contrib.sessions.models import Session
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from replication.operations import logins_audit
from s3sync import logins
from s3sync.sso.backend import NoRole
from s3sync.sso.configuration import get_setting
from s3sync.sso.provider import ProviderFailed, TokenRefused

log = structlog.get_logger(__name__)

# Logins that one process carries at once, so that a slow provider takes no more threads.
AT_ONCE = 3
BUSY_SECONDS = 5
# Within this time somebody who went to the provider must be back.
BEGUN_SECONDS = 600

_places = threading.BoundedSemaphore(AT_ONCE)


class _Page:
    """Answers what may go wrong, with its reason and whom to ask."""

    get_settings = staticmethod(get_setting)

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.S3SYNC.oidc_issuer:
            raise Http404
        if not _places.acquire(blocking=False):
            return logins.wait_page(request, _("Many people log in at this moment."), BUSY_SECONDS)
        try:
            answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            return answer
        except ProviderFailed as error:
            return _failed(
                request,
                _("The identity provider does not answer as it should."),
                _(
                    "Try again in a minute. If that does not help, ask the administrator: the "
                    "server's log has the reason (sso.failed)."
                ),
                error,
                status=502,
            )
        except (TokenRefused, SuspiciousOperation) as error:
            logins_audit.failed(None, request)
            return _failed(
                request,
                _("This login could not be completed."),
                _("Begin again. A login ends if it waits too long, or goes on in another browser."),
                error,
                status=403,
            )
        except NoRole as error:
            logins_audit.refused(None, request)
            return _failed(
                request,
                _("%(name)s may not use s3sync: the account is in none of the groups that may.")
                % {"name": error.name},
                _(
                    "Ask the people who manage groups at your identity provider for one of "
                    "these: %(groups)s. Then log in again."
                )
                % {"groups": ", ".join(group for group, _role in settings.S3SYNC.roles_of_groups)},
                error,
                status=403,
                groups=error.groups,
            )
        finally:
            _places.release()


class Begin(_Page, OIDCAuthenticationRequestView):
    """Leads to the provider, with a state, a nonce and a challenge that this session keeps."""

    def __init__(self, **kwargs: Any) -> None:
        # Not in the package's way: it asks for the provider before `dispatch` can answer for it.
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        self.OIDC_OP_AUTH_ENDPOINT = get_setting("OIDC_OP_AUTHORIZATION_ENDPOINT")
        self.OIDC_RP_CLIENT_ID = get_setting("OIDC_RP_CLIENT_ID")
        answer: HttpResponse = super().get(request)
        if not request.user.is_authenticated:
            request.session.set_expiry(BEGUN_SECONDS)
        return answer


class Callback(_Page, OIDCAuthenticationCallbackView):
    """Where the provider sends people back to, with a code."""

    def get(self, request: HttpRequest) -> HttpResponse:
        # Not the package's: it logs out whoever follows such a link, and lets two answers of one
        # state race.
        begun = take_state(request)
        if request.GET.get("error"):
            log.warning("sso.refused_by_provider", error=request.GET["error"][:100])
            return self.login_failure()
        self.user = authenticate(
            request, nonce=begun.get("nonce"), code_verifier=begun.get("code_verifier")
        )
        if self.user is None or not self.user.is_active:
            return self.login_failure()
        return self.login_success()

    def login_success(self) -> HttpResponse:
        answer: HttpResponse = super().login_success()
        self.request.session.set_expiry(None)  # as long as any other login
        return answer

    def login_failure(self) -> HttpResponse:
        raise TokenRefused("the provider let nobody in, or the account is deactivated here")


def take_state(request: HttpRequest) -> dict[str, Any]:
    """What was kept of the login that this is the answer to; each state counts once.

    Raises:
        TokenRefused: this session has begun no such login, or it was answered.
    """
    key = request.session.session_key
    with transaction.atomic():
        Session.objects.select_for_update().filter(session_key=key).first()
        session = type(request.session)(key)  # as it is now, under the lock
        begun: dict[str, Any] | None = session.get("oidc_states", {}).pop(
            request.GET.get("state", ""), None
        )
        if begun is None:
            raise TokenRefused("no login of this browser has this state")
        session.save()
    # The provider may be slow: what other tabs store meanwhile stays.
    request.session = type(request.session)(key)
    return begun


def _failed(
    request: HttpRequest, what: str, what_to_do: str, error: Exception, *, status: int, **more: Any
) -> HttpResponse:
    log.warning("sso.failed", kind=type(error).__name__, reason=str(error), **more)
    context = {
        "title": _("Single sign-on"),
        "what": what,
        "what_to_do": what_to_do,
        "site_header": admin.site.site_header,
    }
    return render(request, "admin/sso_failed.html", context, status=status)
