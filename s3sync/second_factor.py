"""Asks for the second factor: at the login, at a page where people set it up, and where it must be.

A wrong code counts as a wrong password, and nobody is told which of the two was wrong.
"""

from collections.abc import Callable
from typing import Any, cast

import django_otp
import segno
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from replication.models import ActorKind
from replication.operations import second_factor
from replication.operations.audit import Actor
from s3sync import logins

# Callers of these have tokens, and no session.
_WITHOUT_SESSION = ("/api/", "/metrics")
_SINGLE_SIGN_ON = "s3sync.sso.backend.ProviderBackend"


def _code_field(**options: Any) -> forms.CharField:
    attributes = {"autocomplete": "one-time-code"}
    return forms.CharField(max_length=50, widget=forms.TextInput(attributes), **options)


class LoginForm(AdminAuthenticationForm):
    """Name, password, and the code of those who have set one up."""

    error_messages = {  # noqa: RUF012 - as Django declares it
        **AdminAuthenticationForm.error_messages,
        "invalid_login": gettext_lazy(
            "Please enter the correct %(username)s and password for a staff account, and the code "
            "of your authenticator app if you have set one up. A code counts once: wait for the "
            "next one. Name and password may be case-sensitive."
        ),
    }
    code = _code_field(
        required=False,
        label=gettext_lazy("Code of your authenticator app"),
        help_text=gettext_lazy("If you have set one up; or a recovery code."),
    )

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if not second_factor.is_set_up(user):
            return
        if not second_factor.accepts(user, self.cleaned_data.get("code", "")):
            assert self.request is not None
            logins.count_failure(self.request, user.username)
            raise self.get_invalid_login_error()
        user.otp_device = second_factor.device_of(user)  # django-otp marks the session with it


class _PageForm(forms.Form):
    code = _code_field(label=gettext_lazy("Code that the app shows"))


class _SetUpForm(_PageForm):
    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    field_order = ("password", "code")


def page(request: HttpRequest) -> HttpResponseBase:
    """Where a user sets the own second factor up, or removes it with a code of it."""
    user = request.user
    assert isinstance(user, User)  # `admin_view` lets nobody else in
    if not _is_local(request):
        return _answer(request, is_local=False)
    if second_factor.is_set_up(user):
        return _remove(request, user)
    return _set_up(request, user)


def _set_up(request: HttpRequest, user: User) -> HttpResponseBase:
    form = _SetUpForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _set_up_page(request, user, form)

    def answer() -> HttpResponseBase:
        is_known = user.check_password(form.cleaned_data["password"])
        key = request.session.get(logins.BEGUN_FACTOR)
        code = form.cleaned_data["code"]
        codes = second_factor.confirm(user, key, code) if is_known and key else None
        if codes is None:
            logins.count_failure(request, user.username)
            form.add_error(None, _("The password or the code is wrong. A code counts once."))
            return _set_up_page(request, user, form)
        del request.session[logins.BEGUN_FACTOR]
        django_otp.login(request, second_factor.device_of(user))
        return _answer(request, codes=codes)

    return logins.limited(request, user.username, answer)


def _set_up_page(request: HttpRequest, user: User, form: forms.Form) -> HttpResponse:
    device = second_factor.begin(user, request.session.get(logins.BEGUN_FACTOR, ""))
    request.session[logins.BEGUN_FACTOR] = device.key
    picture = segno.make(device.config_url, error="m").svg_data_uri(scale=5, light="white")
    return _answer(
        request, form=form, secret=second_factor.secret_text(device), picture=picture, is_new=True
    )


def _remove(request: HttpRequest, user: User) -> HttpResponseBase:
    form = _PageForm(request.POST or None)
    left = second_factor.recovery_codes_left(user)
    if request.method != "POST" or not form.is_valid():
        return _answer(request, form=form, left=left)

    def answer() -> HttpResponseBase:
        if not second_factor.accepts(user, form.cleaned_data["code"]):
            logins.count_failure(request, user.username)
            form.add_error(None, _("The code is wrong. A code counts once."))
            return _answer(request, form=form, left=left)
        second_factor.remove([user], by=Actor(ActorKind.USER, user.username))
        request.session.pop(django_otp.DEVICE_ID_SESSION_KEY, None)
        return redirect("second_factor")

    return logins.limited(request, user.username, answer)


def _answer(request: HttpRequest, **context: Any) -> HttpResponse:
    page_context = {
        **admin.site.each_context(request),
        "title": _("Second factor"),
        "is_local": True,
        "is_required": settings.S3SYNC.second_factor == "required",
        **context,
    }
    return TemplateResponse(request, "admin/second_factor.html", page_context)


class RequiredMiddleware:
    """Ends the sessions that began without the user's second factor, such as before its set-up.

    With S3SYNC_SECOND_FACTOR=required, who has none may set one up, and do nothing else.
    Single sign-on is left out: a second factor is the provider's there.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not _needs_it(request):
            return self.get_response(request)
        device = second_factor.device_of(cast(User, request.user))
        if device is not None:
            if request.session.get(django_otp.DEVICE_ID_SESSION_KEY) != device.persistent_id:
                request.session.flush()
                request.user = AnonymousUser()
        elif settings.S3SYNC.second_factor == "required" and not _is_open_to_all(request):
            return redirect("second_factor")
        return self.get_response(request)


def _needs_it(request: HttpRequest) -> bool:
    return (
        not request.path.startswith(_WITHOUT_SESSION)
        and request.user.is_authenticated
        and _is_local(request)
    )


def _is_open_to_all(request: HttpRequest) -> bool:
    return request.path in {reverse("second_factor"), reverse("admin:logout")}


def _is_local(request: HttpRequest) -> bool:
    return request.session.get(BACKEND_SESSION_KEY) != _SINGLE_SIGN_ON
