"""The structure of the file, taken from the models: each editable field is a field of the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from django.db.models import Field, ForeignKey, Model

from replication.models import Destination, EventQueue, ReplicationRule, Source

DOMAINS = "domains"  # a field of a source: a list of text, stored as rows of its own


@dataclass(frozen=True)
class Section:
    """A list of entries in the file; each entry is a row of the model, with a unique name."""

    name: str
    noun: str
    model: type[Model]

    @cached_property
    def fields(self) -> dict[str, "Field[Any, Any]"]:
        """The fields that an operator may set, without the `domains` of a source."""
        return {
            field.name: field
            for field in self.model._meta.concrete_fields
            if field.editable and not field.primary_key
        }

    @property
    def field_names(self) -> list[str]:
        return [*self.fields, DOMAINS] if self.model is Source else list(self.fields)

    def rows(self) -> dict[str, Any]:
        """All rows in the database, by name."""
        related = [name for name, field in self.fields.items() if isinstance(field, ForeignKey)]
        rows: Any = self.model._default_manager.select_related(*related)
        if self.model is Source:
            rows = rows.prefetch_related(DOMAINS)
        return {row.name: row for row in rows.order_by("name")}


# A section comes after the sections that it refers to.
SECTIONS = [
    Section("sources", "source", Source),
    Section("destinations", "destination", Destination),
    Section("rules", "rule", ReplicationRule),
    Section("queues", "queue", EventQueue),
]


def section_of(model: type[Model]) -> Section:
    return next(section for section in SECTIONS if section.model is model)


def is_required(field: "Field[Any, Any]") -> bool:
    return not field.blank and not field.has_default()


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" if the word looks like a misspelling, otherwise an empty text."""
    matches = get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
