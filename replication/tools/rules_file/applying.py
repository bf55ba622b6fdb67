"""Writes the file's entries to the database, in one transaction that any mistake rolls back.

The models' own full_clean decides what is valid, so the file is held to the same rules as the
admin. Whether rules collide is decided at the end, from the rules as the file makes them: the order
of its entries does not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import transaction
from django.db.models import ForeignKey

from replication.models import Source, SourceDomain
from replication.models.collisions import (
    Collision,
    Rules,
    find_new_collisions,
    lock_and_read_rules,
    read_rules,
)
from replication.sweep import lifecycle
from replication.tools.rules_file.reading import Entry, Mistake, RulesFileError, read_entries
from replication.tools.rules_file.sections import (
    DOMAINS,
    SECTIONS,
    Section,
    is_required,
    section_of,
    suggestion,
)

# Where a rule of a collision has the name of its entry in each section.
_NAMES_IN_COLLISIONS = {
    "rules": "name",
    "sources": "source_name",
    "destinations": "destination_name",
}


@dataclass(frozen=True)
class FieldChange:
    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """What the file does to one row; a row that is not created and has no `fields` is unchanged."""

    noun: str
    name: str
    created: bool
    fields: list[FieldChange]


@dataclass(frozen=True)
class Applied:
    """The changes; `absent` has (noun, name) of each row that the file does not mention, and
    `backfills` the rules whose first backfill begins because of that.
    """

    changes: list[Change]
    absent: list[tuple[str, str]]
    backfills: list[str] = field(default_factory=list)


def apply_rules(text: str, *, dry_run: bool = False) -> Applied:
    """Make the database equal the file's entries; idempotent.

    Raises:
        RulesFileError: has all mistakes of the file; nothing was changed. Collisions of rules are
            among them only if there are no others: a rule with a mistake has no mapping yet.
    """
    entries, mistakes = read_entries(text)
    with transaction.atomic():
        rules_before = lock_and_read_rules()
        application = _Application(entries, mistakes)
        applied = application.run()
        if not application.mistakes:
            application.refuse_collisions(applied, before=rules_before)
        if application.mistakes:
            raise RulesFileError(application.mistakes)
        rules_to_backfill = lifecycle.rules_to_backfill().order_by("name")
        applied.backfills.extend(rules_to_backfill.values_list("name", flat=True))
        transaction.set_rollback(dry_run)
    if not dry_run:
        # After the commit: what can't start now, the cluster starts later.
        lifecycle.start_backfills()
    return applied


@dataclass
class _Application:
    entries: list[Entry]
    mistakes: list[Mistake]
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by section and name
    _named: dict[str, dict[str, Entry]] = field(default_factory=dict)  # by section and name

    def run(self) -> Applied:
        changes: list[Change] = []
        absent: list[tuple[str, str]] = []
        for section in SECTIONS:
            self._rows[section.name] = section.rows()
            named = self._named[section.name] = self._by_name(section)
            absent += [
                (section.noun, name) for name in self._rows[section.name] if name not in named
            ]
            changes += filter(None, map(self._apply, named.values()))
            if section.model is Source:
                self._apply_domains(list(named.values()))
        return Applied(changes, absent)

    def refuse_collisions(self, applied: Applied, *, before: Rules) -> None:
        """Make each collision that the file adds a mistake of an entry that changed something."""
        changed = {
            (change.noun, change.name)
            for change in applied.changes
            if change.created or change.fields
        }
        for collision in find_new_collisions(read_rules(), before=before):
            entry = self._entry_that_adds(collision, changed)
            line, where = (entry.line, entry.where) if entry else (1, "")
            self.mistakes.append(Mistake(line, where, str(collision)))

    def _entry_that_adds(self, collision: Collision, changed: set[tuple[str, str]]) -> Entry | None:
        """The last changed entry of the two rules, or else of their sources or destinations.

        None if a program that does not look for collisions changed the rules at the same time.
        """
        for section, name in _NAMES_IN_COLLISIONS.items():
            names = [getattr(rule, name) for rule in (collision.one, collision.other)]
            entries = [self._named[section][name] for name in names if name in self._named[section]]
            entries = [entry for entry in entries if (entry.section.noun, entry.name) in changed]
            if entries:
                return max(entries, key=lambda entry: entry.line)
        return None

    def _by_name(self, section: Section) -> dict[str, Entry]:
        named: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.section is not section or "name" in entry.invalid:
                continue
            if not entry.name:
                self._wrong(entry, "name", "is missing")
            elif entry.name in named:
                first = named[entry.name].line_of("name")
                self._wrong(entry, "name", f"{entry.name!r} is already in line {first}")
            else:
                named[entry.name] = entry
        return named

    def _apply(self, entry: Entry) -> Change | None:
        """Save the entry. None if it has a mistake."""
        section = entry.section
        existing = self._rows[section.name].get(entry.name)
        row = existing or section.model(name=entry.name)
        old = row_values(section, existing) if existing else {}
        unset = entry.invalid | set(self._fill(row, entry))
        is_valid = self._is_valid(row, entry, exclude=unset)
        if unset or not is_valid:
            return None
        new = row_values(section, row)
        if section.model is Source:
            new[DOMAINS] = sorted({line.value for line in entry.domains})
        changed = [
            FieldChange(name, old.get(name), value)
            for name, value in new.items()
            if old.get(name) != value
        ]
        columns = [change.name for change in changed if change.name != DOMAINS]
        if not existing:
            row.save(force_insert=True)
        elif columns:
            # Only these: pollers count in the same rows.
            row.save(update_fields=columns)
        self._rows[section.name][entry.name] = row
        return Change(section.noun, entry.name, not existing, changed if existing else [])

    def _fill(self, row: Any, entry: Entry) -> Iterator[str]:
        """Set the row's fields to the entry's values or defaults; yield those that can't be set."""
        for name, column in entry.section.fields.items():
            if name in entry.invalid:
                continue
            if name not in entry.values:
                if is_required(column):
                    self._wrong(entry, name, "is missing")
                    yield name
                else:
                    setattr(row, name, column.get_default())
            elif isinstance(column, ForeignKey):
                target = self._target(entry, name, section_of(column.related_model))
                if target is None:
                    yield name
                else:
                    setattr(row, name, target)
            else:
                setattr(row, name, entry.values[name].value)

    def _target(self, entry: Entry, field_name: str, section: Section) -> Any | None:
        """The row that the entry refers to; None if it does not exist or has mistakes itself."""
        wanted = str(entry.values[field_name].value)
        known = self._rows[section.name].keys() | self._named[section.name].keys()
        if wanted not in known:
            near = suggestion(wanted, known)
            self._wrong(entry, field_name, f"there is no {section.noun} named {wanted!r}{near}")
        return self._rows[section.name].get(wanted)

    def _is_valid(self, row: Any, entry: Entry, *, exclude: set[str]) -> bool:
        try:
            row.full_clean(exclude=exclude)
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                for message in messages:
                    self._wrong(entry, "" if name == NON_FIELD_ERRORS else name, message)
            return False
        return True

    def _apply_domains(self, entries: list[Entry]) -> None:
        """Set the domains of all sources. Removes first: a domain may move between sources."""
        sources = self._rows["sources"]
        entries = [entry for entry in entries if entry.name in sources]
        for entry in entries:
            wanted = [line.value for line in entry.domains]
            sources[entry.name].domains.exclude(domain__in=wanted).delete()
        owners = dict(SourceDomain.objects.values_list("domain", "source__name"))
        for entry in entries:
            seen: dict[str, int] = {}
            for number, line in enumerate(entry.domains):
                domain, where = str(line.value), f"{entry.where}.{DOMAINS}[{number}]"
                if domain in seen:
                    reason = f"{domain!r} is already in line {seen[domain]}"
                    self.mistakes.append(Mistake(line.number, where, reason))
                elif owners.setdefault(domain, entry.name) != entry.name:
                    reason = f"{domain!r} belongs to the source {owners[domain]!r}"
                    self.mistakes.append(Mistake(line.number, where, reason))
                else:
                    self._add_domain(sources[entry.name], domain, line.number, where)
                seen[domain] = line.number

    def _add_domain(self, source: Source, domain: str, line: int, where: str) -> None:
        if source.domains.filter(domain=domain).exists():
            return
        row = SourceDomain(source=source, domain=domain)
        try:
            row.full_clean()
        except ValidationError as error:
            self.mistakes += [Mistake(line, where, message) for message in error.messages]
        else:
            row.save()

    def _wrong(self, entry: Entry, field_name: str, reason: str) -> None:
        where = f"{entry.where}.{field_name}" if field_name else entry.where
        self.mistakes.append(Mistake(entry.line_of(field_name), where, reason))


def row_values(section: Section, row: Any) -> dict[str, Any]:
    """A row's values as the file has them: other rows by their names."""
    values = {
        name: getattr(row, name).name if isinstance(column, ForeignKey) else getattr(row, name)
        for name, column in section.fields.items()
    }
    if section.model is Source and row.pk:
        values[DOMAINS] = sorted(domain.domain for domain in row.domains.all())
    return values
