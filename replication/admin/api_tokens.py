"""Pages that create API tokens, list them with their last use, and revoke them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from replication.admin import cells
from replication.admin.audited import actor_of
from replication.admin.lists import ReadOnlyAdmin
from replication.models import ApiToken, TokenRole
from replication.operations import api_tokens


@admin.action(
    description=gettext_lazy("Revoke the selected tokens permanently"), permissions=["revoke"]
)
def revoke(model_admin: Any, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
    revoked = api_tokens.revoke(queryset, by=actor_of(request))
    messages.add_message(
        request,
        messages.SUCCESS if revoked else messages.WARNING,
        ngettext(
            "%d token was revoked. Calls with it are refused from now on.",
            "%d tokens were revoked. Calls with them are refused from now on.",
            revoked,
        )
        % revoked,
    )


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "role", "shown_prefix", "state", "last_used", "created_by", "created")
    ordering = ("name",)
    actions = (revoke,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.change_apitoken")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        stored = ("shown_prefix", "state", "last_used", "created_by", "created") if obj else ()
        return ("name", "role", *stored)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by the hash: who may look at the list could read it digit by digit."""
        if lookup.partition("__")[0] == "secret_sha256":
            return False
        return bool(super().lookup_allowed(lookup, value, request))

    # -- adding a token ------------------------------------------------------------------------

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: ModelForm, change: bool
    ) -> None:
        new = api_tokens.create(obj.name, role=TokenRole(obj.role), by=actor_of(request))
        obj.pk = new.token.pk
        obj.secret = new.secret  # type: ignore[attr-defined]  # for this response only

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Do nothing: `api_tokens.create` has written the audit entry."""

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret in this response only: Django would store a message for the next page."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("API token %(name)s") % {"name": obj.name},
            "opts": self.opts,
            "secret": obj.secret,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/replication/new_token.html", context)

    # -- the list ------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("begins with"))
    def shown_prefix(self, token: ApiToken) -> SafeString:
        return cells.key(f"{token.prefix}…")

    @admin.display(description=gettext_lazy("state"))
    def state(self, token: ApiToken) -> SafeString:
        if token.revoked_at:
            return cells.badge("cancelled", _("revoked"))
        return cells.badge("completed", _("valid"))

    @admin.display(description=gettext_lazy("last used"))
    def last_used(self, token: ApiToken) -> SafeString:
        return cells.ago(token.last_used_at)

    @admin.display(description=gettext_lazy("created"))
    def created(self, token: ApiToken) -> SafeString:
        return cells.ago(token.created_at)
