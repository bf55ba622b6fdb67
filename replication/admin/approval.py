"""A place that is new to a credential profile is saved only by whoever may approve it.

Such a place sends signatures, session tokens and whole objects of a profile where none went before.
So the right to edit places is not enough for it. What is at the place already, or at another one,
needs no approval again: names, limits and the like are edited without.
"""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from replication.models import Destination, EventQueue, Source, SourceKind

# The fields that decide where a profile's secret is used.
_USE_OF_PROFILE: dict[type[Model], tuple[str, ...]] = {
    Source: ("credential_profile", "kind", "bucket", "region", "endpoint_url"),
    Destination: ("credential_profile", "bucket", "endpoint", "addressing"),
    EventQueue: ("credential_profile", "url"),
}


class ApprovedForm(forms.ModelForm):
    """The form of a source, destination or queue."""

    may_approve: ClassVar[bool] = False

    def full_clean(self) -> None:
        super().full_clean()  # gives the row the values of the form
        if self.is_valid() and not self.may_approve and _is_new_to_its_profile(self.instance):
            self.add_error(
                "credential_profile",
                ValidationError(
                    _(
                        "The profile “%(profile)s” has not been used with this place yet, and you "
                        "may not approve that. Nothing was saved. Ask somebody in the group "
                        "Approver, or a superuser, to save these values."
                    ),
                    params={"profile": self.instance.credential_profile},
                ),
            )


class ApprovedPlaces:
    """Mixin of the ModelAdmins whose form is an ApprovedForm."""

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> type[ApprovedForm]:
        form: type[ApprovedForm] = super().get_form(request, obj, **kwargs)  # type: ignore[misc]
        options = form._meta.model._meta
        codename = get_permission_codename("approve", options)
        may_approve = request.user.has_perm(f"{options.app_label}.{codename}")
        return type(form.__name__, (form,), {"may_approve": may_approve})


def _is_new_to_its_profile(place: Any) -> bool:
    if isinstance(place, Source) and place.kind == SourceKind.HTTP:
        return False  # it is read without credentials
    use = {name: getattr(place, name) for name in _USE_OF_PROFILE[type(place)]}
    return not type(place).objects.filter(**use).exists()
