"""Every URL of the service except the health probes, which s3sync/middleware.py answers."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from replication.admin import status_page
from replication.api import api, probes
from s3sync import logins, second_factor
from s3sync.sso import pages

admin.site.login_form = second_factor.LoginForm

# These come before the admin's own pages.
_LOGIN_PAGES = [
    path("login/", logins.login),
    path("second_factor/", admin.site.admin_view(second_factor.page), name="second_factor"),
    path("sso/", pages.Begin.as_view(), name="oidc_authentication_init"),
    path("sso/callback/", pages.Callback.as_view(), name="oidc_authentication_callback"),
    path("password_change/", admin.site.admin_view(logins.change_password, cacheable=True)),
]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="status")),
    path("metrics", probes.metrics),
    path("status/", status_page.status_page, name="status"),
    path("api/v1/", api.urls),
    path("admin/", include(_LOGIN_PAGES)),
    path("admin/", admin.site.urls),
]

handler400 = "s3sync.middleware.bad_request"
handler404 = "replication.api.probes.page_or_endpoint_not_found"
