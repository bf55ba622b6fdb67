"""Sources, with the domains by which API callers name them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin.approval import ApprovedForm, ApprovedPages
from replication.admin.audited import Audited
from replication.admin.cells import NOTHING
from replication.admin.collisions import CollisionFreeForm
from replication.models import Source, SourceDomain

PROFILE_HELP = _(
    "The name of a set of credentials. The credentials themselves are never stored here. "
    "“default” stands for the host's own credentials: its environment, or the role of its instance "
    "or pod. Any other name is looked up in the mounted secrets and in the S3SYNC_PROFILE_… "
    "variables; see docs/guides/credentials.md."
)


class SourceForm(ApprovedForm, CollisionFreeForm):
    pass


class DomainInline(admin.TabularInline):
    model = SourceDomain
    extra = 1


@admin.register(Source)
class SourceAdmin(ApprovedPages, Audited, admin.ModelAdmin):
    form = SourceForm
    list_display = ("name", "kind", "place", "region", "domain_names", "credential_profile")
    list_filter = ("kind",)
    search_fields = ("name", "bucket", "domains__domain")
    show_facets = admin.ShowFacets.NEVER
    inlines = (DomainInline,)
    fieldsets = (
        (None, {"fields": ("name", "kind")}),
        (
            _("Location"),
            {
                "fields": ("bucket", "region", "endpoint_url"),
                "description": _(
                    "An S3 bucket needs its name and region. "
                    "An HTTP(S) domain needs only the endpoint URL."
                ),
            },
        ),
        (
            _("Credentials"),
            {"fields": ("credential_profile", "requester_pays"), "description": PROFILE_HELP},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        return super().get_queryset(request).prefetch_related("domains")

    @admin.display(description=_("bucket or address"), ordering="bucket")
    def place(self, source: Source) -> str:
        return source.bucket or source.endpoint_url

    @admin.display(description=_("domains"))
    def domain_names(self, source: Source) -> SafeString | str:
        names = ((domain.domain,) for domain in source.domains.all())
        return format_html_join(", ", "{}", names) or NOTHING
