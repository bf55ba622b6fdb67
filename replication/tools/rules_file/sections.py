"""The shape of the file, taken from the models: a new field of a model is one of the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from django.db.models import Field, ForeignKey, Model

from replication.models import Destination, EventQueue, ReplicationRule, Source

DOMAINS = "domains"  # of a source: a list of texts, kept as rows of their own


@dataclass(frozen=True)
class Section:
    """A list of the file, whose entries are a model's rows, each with a unique name."""

    name: str
    noun: str
    model: type[Model]

    @cached_property
    def fields(self) -> dict[str, "Field[Any, Any]"]:
        """What an operator may set; `domains` of a source is not among them."""
        return {
            field.name: field
            for field in self.model._meta.concrete_fields
            if field.editable and not field.primary_key
        }

    @property
    def field_names(self) -> list[str]:
        return [*self.fields, DOMAINS] if self.model is Source else list(self.fields)

    def rows(self) -> dict[str, Any]:
        """What the database has, by name."""
        related = [name for name, field in self.fields.items() if isinstance(field, ForeignKey)]
        rows: Any = self.model._default_manager.select_related(*related)
        if self.model is Source:
            rows = rows.prefetch_related(DOMAINS)
        return {row.name: row for row in rows.order_by("name")}


# In the order of what needs what.
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
    """Return "; did you mean …?" for what looks like a misspelling, or else nothing."""
    matches = get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
