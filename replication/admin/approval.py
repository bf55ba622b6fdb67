"""What opens something new to others is saved only by whoever may approve it.

A place that is new to a credential profile sends its signatures, session tokens and whole objects
where none went before; a public ACL shows replicas to everybody. The right to edit is not enough
for these. What is so already needs no approval again: names, limits and the like are edited
without.
"""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from replication.models import (
    Destination,
    EventQueue,
    ObjectAcl,
    ReplicationRule,
    Source,
    SourceKind,
)

# The fields that decide where a profile's secret is used, or where objects become public.
_NEW_BY: dict[type[Model], tuple[str, ...]] = {
    Source: ("credential_profile", "kind", "bucket", "region", "endpoint_url"),
    Destination: ("credential_profile", "bucket", "endpoint", "addressing"),
    EventQueue: ("credential_profile", "url"),
    ReplicationRule: ("acl", "source", "source_prefix", "destination", "destination_prefix"),
}
_PUBLIC = {ObjectAcl.PUBLIC_READ, ObjectAcl.PUBLIC_READ_WRITE}


class ApprovedForm(forms.ModelForm):
    """The form of a source, destination, queue or rule."""

    may_approve: ClassVar[bool] = False

    def full_clean(self) -> None:
        super().full_clean()  # gives the row the values of the form
        if self.is_valid() and not self.may_approve and _opens_something(self.instance):
            field, opens = (
                ("acl", _("Replicas would become public."))
                if isinstance(self.instance, ReplicationRule)
                else (
                    "credential_profile",
                    _("This profile has not been used with this place yet."),
                )
            )
            ask = _(
                "You may not approve that, and nothing was saved. Ask somebody in the group "
                "Approver, or a superuser, to save these values."
            )
            self.add_error(field, ValidationError([opens, ask]))


class ApprovedPages:
    """Mixin of the ModelAdmins whose form is an ApprovedForm."""

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)  # type: ignore[misc]
        options = form._meta.model._meta
        codename = get_permission_codename("approve", options)
        may_approve = request.user.has_perm(f"{options.app_label}.{codename}")
        return type(form.__name__, (form,), {"may_approve": may_approve})


def _opens_something(row: Any) -> bool:
    if isinstance(row, Source) and row.kind == SourceKind.HTTP:
        return False  # it is read without credentials
    if isinstance(row, ReplicationRule) and row.acl not in _PUBLIC:
        return False
    values = {name: getattr(row, name) for name in _NEW_BY[type(row)]}
    return not type(row).objects.filter(**values).exists()
