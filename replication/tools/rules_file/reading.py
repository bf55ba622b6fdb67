"""Reads the file's text into entries, each value with its line, and finds all mistakes at once.

It reads YAML's nodes and constructs nothing from them. So a value is the text in the file (`yes`
and `0123` are text), and no tag can construct an object.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import BooleanField, Field, IntegerField
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from replication.tools.rules_file.sections import DOMAINS, SECTIONS, Section, suggestion

# Enough for thousands of rules; YAML's scanner takes seconds for a file of this size.
MAX_FILE_BYTES = 1024 * 1024
# Needed besides the size: aliases make long lists from few bytes.
MAX_ENTRIES = 10_000

_TAG = "tag:yaml.org,2002:"
# Text, and values that YAML takes for something else: a bucket 0123, a prefix 2024-01-01.
_TEXTS = {_TAG + kind for kind in ("str", "int", "float", "timestamp")}
_MERGE = _TAG + "merge"
# Fits in 64 bits. Without leading zeros, which some YAML parsers read as octal.
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")

# None is YAML's null, for fields that may be null.
Value = str | bool | int | None


@dataclass(frozen=True, order=True)
class Mistake:
    """What is wrong at a line of the file; lines count from 1."""

    line: int
    where: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.line}: {self.where}: {self.reason}"
            if self.where
            else (f"{self.line}: {self.reason}")
        )


class RulesFileError(Exception):
    """The file was not applied, and nothing was changed."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = sorted(set(mistakes))


@dataclass(frozen=True)
class Line:
    """A value and its line in the file."""

    value: Value
    number: int


@dataclass(frozen=True)
class Entry:
    """An entry of a section. `invalid` has the fields whose values are mistakes."""

    section: Section
    where: str
    line: int
    values: dict[str, Line]
    domains: list[Line]
    invalid: set[str]

    @property
    def name(self) -> str:
        return str(self.values["name"].value) if "name" in self.values else ""

    def line_of(self, field_name: str) -> int:
        return self.values[field_name].number if field_name in self.values else self.line


def read_entries(text: str) -> tuple[list[Entry], list[Mistake]]:
    """Return the entries, and all mistakes that can be found without the database.

    Raises:
        RulesFileError: the text is not YAML or is too large, so there are no entries.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_FILE_BYTES:
        raise RulesFileError([Mistake(1, "", f"the file is larger than {MAX_FILE_BYTES:,} bytes")])
    reader = _Reader()
    return list(reader.entries(_compose(text))), reader.mistakes


def _compose(text: str) -> Node | None:
    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = f"not YAML: {error.problem}"
        if mark and _begins_with_a_star(text, mark.line, mark.column):
            reason += "; text that begins with * needs quotes"
        raise RulesFileError([Mistake(line, "", reason)]) from error
    except (YAMLError, ValueError) as error:
        raise RulesFileError([Mistake(1, "", f"not YAML: {error}")]) from error
    except RecursionError as error:
        raise RulesFileError([Mistake(1, "", "nested too deeply")]) from error


def _begins_with_a_star(text: str, line: int, column: int) -> bool:
    """Whether YAML took a glob for an alias: its error points at the star or just after it."""
    lines = text.split("\n")
    return line < len(lines) and "*" in lines[line][max(0, column - 1) : column + 1]


@dataclass
class _Reader:
    mistakes: list[Mistake] = field(default_factory=list)
    _merged: dict[int, dict[str, tuple[Node, Node]]] = field(default_factory=dict)

    def entries(self, root: Node | None) -> Iterator[Entry]:
        names = [section.name for section in SECTIONS]
        if not isinstance(root, MappingNode):
            line = _line(root) if root else 1
            self._wrong(line, "", f"the file must have one or more of: {', '.join(names)}")
            return
        lists = self._items(root)
        for name, (key, _value) in lists.items():
            # Sections x-… are for anchors, as in Compose files.
            if name not in names and not name.startswith("x-"):
                reason = f"there is no such section{suggestion(name, names)}"
                self._wrong(_line(key), name, reason)
        for section in SECTIONS:
            if section.name in lists:
                yield from self._section(section, *lists[section.name])

    def _section(self, section: Section, key: Node, nodes: Node) -> Iterator[Entry]:
        if not isinstance(nodes, SequenceNode):
            self._wrong(_line(key), section.name, "must be a list; use [] if there is none")
            return
        if len(nodes.value) > MAX_ENTRIES:
            self._wrong(_line(key), section.name, f"has more than {MAX_ENTRIES:,} entries")
            return
        for number, node in enumerate(nodes.value):
            where = f"{section.name}[{number}]"
            if isinstance(node, MappingNode):
                yield self._entry(section, where, node)
            else:
                self._wrong(
                    _line(node), where, f"must be a mapping with the fields of a {section.noun}"
                )

    def _entry(self, section: Section, where: str, node: MappingNode) -> Entry:
        entry = Entry(section, where, _line(node), values={}, domains=[], invalid=set())
        for name, (key, value) in self._items(node).items():
            field_path, mistakes_before = f"{where}.{name}", len(self.mistakes)
            if name == DOMAINS and DOMAINS in section.field_names:
                entry.domains.extend(self._texts(value, field_path, _line(key)))
            elif name not in section.fields:
                near = suggestion(name, section.field_names)
                self._wrong(_line(key), field_path, f"a {section.noun} has no such field{near}")
            else:
                read = self._reader_of(section.fields[name], value)
                found_value = read(value, field_path, _line(key))
                if len(self.mistakes) == mistakes_before:
                    entry.values[name] = Line(found_value, _line(key))
            if len(self.mistakes) > mistakes_before:
                entry.invalid.add(name)
        return entry

    def _reader_of(self, column: "Field[Any, Any]", value: Node) -> Callable[..., Value]:
        if column.null and _is_written_null(value):
            return lambda *_: None
        if isinstance(column, BooleanField):
            return self._boolean
        if isinstance(column, IntegerField):
            return self._whole_number
        return self._text

    def _items(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        """The keys and values of a mapping, by name; its own override those that it merges (`<<`).

        Each mapping is evaluated once, however many aliases refer to it.
        """
        if id(node) in self._merged:
            return self._merged[id(node)]
        self._merged[id(node)] = {}  # for a mapping that merges itself
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for parent in value.value if isinstance(value, SequenceNode) else [value]:
                    if isinstance(parent, MappingNode):
                        merged = self._items(parent) | merged
                    else:
                        self._wrong(_line(key), "<<", "only mappings can be merged")
            elif not isinstance(key, ScalarNode):
                self._wrong(_line(key), "", "the name of a field must be text")
            elif key.value in own:
                first = _line(own[key.value][0])
                self._wrong(_line(key), key.value, f"is already in line {first}")
            else:
                own[key.value] = (key, value)
        self._merged[id(node)] = merged | own
        return self._merged[id(node)]

    def _texts(self, node: Node, where: str, line: int) -> Iterator[Line]:
        if not isinstance(node, SequenceNode):
            self._wrong(line, where, "must be a list; use [] if there is none")
            return
        for number, item in enumerate(node.value):
            text = self._text(item, f"{where}[{number}]", _line(item))
            if text is not None:
                yield Line(text, _line(item))

    def _text(self, node: Node, where: str, line: int) -> str | None:
        if not isinstance(node, ScalarNode) or node.tag not in _TEXTS:
            self._wrong(line, where, f"must be text{_instead(node)}")
            return None
        text: str = node.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._wrong(line, where, "has a character that PostgreSQL can't store")
            return None
        return text

    def _boolean(self, node: Node, where: str, line: int) -> bool | None:
        if not isinstance(node, ScalarNode) or node.tag != _TAG + "bool":
            self._wrong(line, where, f"must be true or false{_instead(node)}")
            return None
        return str(node.value).lower() == "true"

    def _whole_number(self, node: Node, where: str, line: int) -> int | None:
        if not isinstance(node, ScalarNode) or node.tag != _TAG + "int":
            quoted = isinstance(node, ScalarNode) and node.style in {"'", '"'}
            found = "; take the quotes off" if quoted else _instead(node)
            self._wrong(line, where, f"must be a whole number{found}")
            return None
        if not _WHOLE_NUMBER.fullmatch(node.value):
            reason = f"must be a whole number in decimal digits, 18 at most{_instead(node)}"
            self._wrong(line, where, reason)
            return None
        return int(node.value)

    def _wrong(self, line: int, where: str, reason: str) -> None:
        self.mistakes.append(Mistake(line, where, reason))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _is_written_null(node: Node) -> bool:
    """Whether the value is `null` or `~`; no value at all is more likely a mistake."""
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null" and node.value != ""


def _instead(node: Node) -> str:
    """The end of a message about a value of the wrong kind: what the value is, or what to do."""
    if not isinstance(node, ScalarNode):
        return ", not a list or a mapping"
    if node.tag == _TAG + "null":
        return ", but is empty; leave the line out for the default"
    if node.tag == _TAG + "bool":
        return f'; put quotes around it: "{node.value}"'
    return f", not {node.value[:40]!r}"
