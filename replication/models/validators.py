"""Validators of model fields; their messages are for the person who fills in the form."""

from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from replication.mapping.filters import check_globs
from replication.mapping.storage_classes import parse_storage_classes

NAME = RegexValidator(
    r"^[a-z0-9][a-z0-9-]*$",
    _("Use lower-case letters, digits and hyphens; start with a letter or digit."),
)
PROFILE = RegexValidator(
    r"^[a-z0-9][a-z0-9_]*$", _("Use lower-case letters, digits and underscores.")
)


def _validated_by(parse: Callable[[str], object]) -> Callable[[str], None]:
    def validate(text: str) -> None:
        try:
            parse(text)
        except ValueError as error:
            raise ValidationError(str(error)) from error

    return validate


def validate_globs(text: str) -> None:
    """Validate a text with one glob on each line."""
    _validated_by(check_globs)(text)


def validate_storage_classes(text: str) -> None:
    """Validate a mapping of storage classes."""
    _validated_by(parse_storage_classes)(text)
