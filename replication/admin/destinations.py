"""Destinations: OSS buckets."""

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.approval import ApprovedForm, ApprovedPages
from replication.admin.audited import Audited
from replication.admin.collisions import CollisionFreeForm
from replication.admin.sources import PROFILE_HELP
from replication.models import Destination


class DestinationForm(ApprovedForm, CollisionFreeForm):
    pass


@admin.register(Destination)
class DestinationAdmin(ApprovedPages, Audited, admin.ModelAdmin):
    form = DestinationForm
    list_display = ("name", "bucket", "endpoint", "region", "credential_profile", "pace")
    search_fields = ("name", "bucket")
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            _("Location"),
            {
                "fields": ("bucket", "endpoint", "region", "addressing"),
                "description": _(
                    "The OSS console shows the endpoint and the region on the bucket's overview "
                    "page. If the bucket requires a custom domain, enter that domain as the "
                    "endpoint and choose “custom domain”."
                ),
            },
        ),
        (_("Credentials"), {"fields": ("credential_profile",), "description": PROFILE_HELP}),
        (
            _("Limits"),
            {
                "fields": ("max_requests_per_second", "max_bytes_per_second"),
                "description": _(
                    "The limits apply to all lanes on all hosts together. Without a limit, the "
                    "lanes still slow down when OSS asks for fewer requests, and recover "
                    "automatically."
                ),
            },
        ),
        (
            _("What the bucket takes"),
            {
                "fields": ("takes_non_ascii_metadata", "takes_non_ascii_tags", "learned_at"),
                "description": _(
                    "OSS documents ASCII for user metadata and tags, but some buckets take more. "
                    "The bucket is asked with an object of s3sync's own when the first object "
                    "needs the answer, and each time doctor runs. A rule's policies for metadata "
                    "and tags apply only to what the bucket refuses. Another endpoint or bucket is "
                    "asked anew."
                ),
            },
        ),
    )

    readonly_fields = ("takes_non_ascii_metadata", "takes_non_ascii_tags", "learned_at")

    @admin.display(description=_("rate limit"))
    def pace(self, destination: Destination) -> SafeString | str:
        now = timezone.now()
        if destination.throttled_until and destination.throttled_until > now:
            return cells.badge("retrying", _("throttled by OSS"))
        limits = [
            filesizeformat(destination.max_bytes_per_second) + "/s"
            if destination.max_bytes_per_second
            else "",
            _("%d requests/s") % destination.max_requests_per_second
            if destination.max_requests_per_second
            else "",
        ]
        return ", ".join(map(str, filter(None, limits))) or str(_("no limit"))
