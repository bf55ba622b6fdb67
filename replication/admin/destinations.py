"""Destinations: OSS buckets."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from replication.admin.sources import PROFILE_HELP
from replication.models import Destination


@admin.register(Destination)
class DestinationAdmin(admin.ModelAdmin):
    list_display = ("name", "bucket", "endpoint", "region", "addressing", "credential_profile")
    search_fields = ("name", "bucket")
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            _("Where it is"),
            {
                "fields": ("bucket", "endpoint", "region", "addressing"),
                "description": _(
                    "The OSS console shows endpoint and region on the bucket's overview page. "
                    "Where a bucket demands a custom domain, enter that domain as the endpoint "
                    "and choose “custom domain”."
                ),
            },
        ),
        (_("Credentials"), {"fields": ("credential_profile",), "description": PROFILE_HELP}),
    )
