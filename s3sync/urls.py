"""Every URL of the service but the health probes: s3sync/middleware.py answers those."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from replication import views
from replication.api import api

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="status")),
    path("metrics", views.metrics),
    path("status/", views.status_page, name="status"),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]

handler404 = "replication.views.page_or_endpoint_not_found"
