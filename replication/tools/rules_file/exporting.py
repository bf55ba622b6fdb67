"""The database as a rules file, in a stable order: applying it changes nothing."""

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
    """Writes what is meant to be nothing as `null`; a line with no value looks forgotten."""

    def represent_null(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_null)


def export_rules() -> str:
    """Return every source, destination, rule and queue as YAML; empty fields are left out."""
    document: dict[str, list[dict[str, Any]]] = {
        section.name: [
            {
                name: _written(value)
                for name, value in row_values(section, row).items()
                if not _goes_without_saying(section, name, value)
            }
            for row in section.rows().values()
        ]
        for section in SECTIONS
    }
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1_000_000  # a value is one line
    out = StringIO()
    yaml.dump(document, out)
    return _HEAD + out.getvalue()


def _goes_without_saying(section: Section, name: str, value: Any) -> bool:
    """Whether the field has nothing, and has nothing too where the file leaves it out."""
    if name not in section.fields:  # the domains of a source
        return not value
    return value in ("", None) and value == section.fields[name].get_default()


def _written(value: Any) -> Any:
    """The value in a form of YAML that keeps it: a text of several lines as a block, if it can be.

    Between double quotes YAML escapes what it would otherwise take for a line's end.
    """
    if not isinstance(value, str) or value.isprintable():
        return value
    lines = value.removesuffix("\n").split("\n")
    if all(line.isprintable() and line.strip() and line == line.strip() for line in lines):
        return LiteralScalarString(value)
    return DoubleQuotedScalarString(value)
