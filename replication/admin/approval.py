"""What opens something new to others is saved only by whoever may approve it.

A place that is new to a credential profile sends its signatures, session tokens and whole objects
where none went before; a new web server gives objects that are taken for the source's; a public ACL
shows replicas to everybody. The right to edit is not enough for these. What is so already needs no
approval again: names, limits and the like are edited without.
"""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db.models import Model, Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from replication.models import (
    PUBLIC_ACLS,
    Destination,
    EventQueue,
    ReplicationRule,
    Source,
    SourceKind,
)

# The fields that decide where a profile's secret is used, or what becomes public and where.
_NEW_BY: dict[type[Model], tuple[str, ...]] = {
    Source: ("credential_profile", "kind", "bucket", "region", "endpoint_url"),
    Destination: ("credential_profile", "bucket", "endpoint", "addressing"),
    EventQueue: ("credential_profile", "url"),
    ReplicationRule: (
        *("acl", "source", "source_prefix", "source_suffix", "include", "exclude"),
        *("destination", "destination_prefix", "strip_source_prefix", "key_policy"),
    ),
}


class ApprovedForm(forms.ModelForm):
    """The form of a source, destination, queue or rule."""

    may_approve: ClassVar[bool] = False

    def full_clean(self) -> None:
        super().full_clean()  # gives the row the values of the form
        if not self.is_valid() or self.may_approve:
            return
        opens = _what_opens(self.instance)
        if opens is not None:
            field, what = opens
            ask = _(
                "You may not approve that, and nothing was saved. Ask somebody in the group "
                "Approver, or a superuser, to save these values."
            )
            self.add_error(field, ValidationError([what, ask]))


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


def _what_opens(row: Any) -> tuple[str, Any] | None:
    """The field that opens something new to others, and what it opens; None for nothing."""
    values = {name: getattr(row, name) for name in _NEW_BY[type(row)]}
    stored = type(row).objects.filter(**values)
    if isinstance(row, ReplicationRule):
        is_public = row.acl in PUBLIC_ACLS
        # Its own row: what another public rule copies is not what this one does.
        is_new = is_public and not stored.filter(pk=row.pk).exists()
        return ("acl", _("More replicas would be public.")) if is_new else None
    if isinstance(row, Source | Destination) and _is_public(row):
        if stored.filter(pk=row.pk).exists():
            return None
        return "bucket", _("A rule makes its replicas public, and they would be others.")
    if stored.exists():
        return None
    if isinstance(row, Source) and row.kind == SourceKind.HTTP:
        return "endpoint_url", _("No source has this address yet.")
    return "credential_profile", _("This profile has not been used with this place yet.")


def _is_public(place: Source | Destination) -> bool:
    """Whether a rule of the stored place makes its replicas public."""
    if place._state.adding:
        return False
    return ReplicationRule.objects.filter(
        Q(source=place.pk) if isinstance(place, Source) else Q(destination=place.pk),
        acl__in=PUBLIC_ACLS,
    ).exists()
