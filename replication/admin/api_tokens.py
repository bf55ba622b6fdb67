"""Pages that create API tokens, list them with their last use, and revoke them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Field, Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
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
    list_display = (
        *("name", "role_name", "reach", "shown_prefix", "state", "ends", "last_used"),
        *("created_by", "created"),
    )
    filter_horizontal = ("rules",)
    ordering = ("name",)
    actions = (revoke,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.change_apitoken")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "role", "ends_at", "rules")
        shown = ("reach", "shown_prefix", "state", "ends", "last_used", "created_by", "created")
        return ("name", "role", *shown)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        tokens: QuerySet[ApiToken] = super().get_queryset(request)
        return tokens.prefetch_related("rules")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"ends_at": timezone.now() + api_tokens.USUAL_LIFETIME}

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        formfield: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.is_relation:
            formfield.widget.can_add_related = False  # this form selects rules
        return formfield

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by the hash: who may look at the list could read it digit by digit."""
        if lookup.partition("__")[0] == "secret_sha256":
            return False
        return bool(super().lookup_allowed(lookup, value, request))

    # -- adding a token ------------------------------------------------------------------------

    def save_model(
        self, request: HttpRequest, obj: ApiToken, form: ModelForm, change: bool
    ) -> None:
        new = api_tokens.create(
            obj.name,
            role=TokenRole(obj.role),
            by=actor_of(request),
            ends_at=obj.ends_at,
            rules=form.cleaned_data["rules"],
        )
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

    @admin.display(description=gettext_lazy("role"), ordering="role")
    def role_name(self, token: ApiToken) -> str:
        """The role without what it may: that would squeeze the other columns."""
        return token.role

    @admin.display(description=gettext_lazy("begins with"))
    def shown_prefix(self, token: ApiToken) -> SafeString:
        return cells.key(f"{token.prefix}…")

    @admin.display(description=gettext_lazy("state"))
    def state(self, token: ApiToken) -> SafeString:
        if token.revoked_at:
            return cells.badge("cancelled", _("revoked"))
        if token.ends_at and token.ends_at <= timezone.now():
            return cells.badge("failed", _("ended"))
        return cells.badge("completed", _("valid"))

    @admin.display(description=gettext_lazy("ends"))
    def ends(self, token: ApiToken) -> SafeString | str:
        return cells.ago(token.ends_at) if token.ends_at else _("never")

    @admin.display(description=gettext_lazy("rules"))
    def reach(self, token: ApiToken) -> str:
        if not token.is_bound:
            return _("all")
        return ", ".join(rule.name for rule in token.rules.all()) or _("none: they were deleted")

    @admin.display(description=gettext_lazy("last used"))
    def last_used(self, token: ApiToken) -> SafeString:
        return cells.ago(token.last_used_at)

    @admin.display(description=gettext_lazy("created"))
    def created(self, token: ApiToken) -> SafeString:
        return cells.ago(token.created_at)
