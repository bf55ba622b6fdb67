"""Every URL of the service except the health probes, which s3sync/middleware.py answers."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from replication.admin import status_page
from replication.api import api, probes

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="status")),
    path("metrics", probes.metrics),
    path("status/", status_page.status_page, name="status"),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]

handler404 = "replication.api.probes.page_or_endpoint_not_found"
