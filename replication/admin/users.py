"""Users and groups: Django's own pages, audited like all others; and whose second factor is set."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext
from django_otp.plugins.otp_totp.models import TOTPDevice

from replication.admin.audited import Audited, actor_of
from replication.operations import second_factor

admin.site.unregister([User, Group])


@admin.action(
    description=gettext_lazy("Reset the second factor of the selected users"),
    permissions=["change"],
)
def reset_second_factor(model_admin: Any, request: HttpRequest, queryset: QuerySet[User]) -> None:
    removed = second_factor.remove(queryset.order_by("username"), by=actor_of(request))
    messages.add_message(
        request,
        messages.SUCCESS if removed else messages.WARNING,
        ngettext(
            "%d second factor was removed: the user logs in with the password alone.",
            "%d second factors were removed: the users log in with their passwords alone.",
            removed,
        )
        % removed,
    )


@admin.register(User)
class UserAdmin(Audited, DjangoUserAdmin):
    show_facets = admin.ShowFacets.NEVER
    list_display = ("username", "email", "is_staff", "is_superuser", "has_second_factor")
    actions = (reset_second_factor,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(has_factor=Exists(devices))

    @admin.display(description=gettext_lazy("second factor"), boolean=True)
    def has_second_factor(self, user: Any) -> bool:
        return bool(user.has_factor)


@admin.register(Group)
class GroupAdmin(Audited, DjangoGroupAdmin):
    pass
