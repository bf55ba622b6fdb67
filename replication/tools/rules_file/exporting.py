"""Exports the database as a rules file, in a stable order; applying the file changes nothing."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML, RoundTripRepresenter, ScalarNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from replication.tools.rules_file.applying import row_values
from replication.tools.rules_file.sections import SECTIONS, Section

_HEAD = (
    "# Written by `manage.py exportrules`, for `manage.py applyrules`. "
    "See docs/guides/rules-file.md.\n"
)


class _Representer(RoundTripRepresenter):
    """Writes None as `null`: a line without a value looks like a mistake."""

    def represent_null(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def export_rules() -> str:
    """Return all sources, destinations, rules and queues as YAML, without empty fields."""
    document: dict[str, list[dict[str, Any]]] = {
        section.name: [
            {
                name: _written(value)
                for name, value in row_values(section, row).items()
                if not _can_be_left_out(section, name, value)
            }
            for row in section.rows().values()
        ]
        for section in SECTIONS
    }
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1_000_000  # never wrap a value
    out = StringIO()
    yaml.dump(document, out)
    return _HEAD + out.getvalue()


def _can_be_left_out(section: Section, name: str, value: Any) -> bool:
    """Whether the field is empty, and is also empty where the file leaves it out."""
    if name not in section.fields:  # a source's domains
        return not value
    return value in ("", None) and value == section.fields[name].get_default()


def _written(value: Any) -> Any:
    """The value in a YAML form that preserves it: text of several lines as a block, if possible.

    Other unprintable text is put in double quotes, where YAML escapes line ends.
    """
    if not isinstance(value, str) or value.isprintable():
        return value
    lines = value.removesuffix("\n").split("\n")
    if all(line.isprintable() and line.strip() and line == line.strip() for line in lines):
        return LiteralScalarString(value)
    return DoubleQuotedScalarString(value)
