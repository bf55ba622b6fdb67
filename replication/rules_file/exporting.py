"""The database as a rules file, in a stable order: applying it changes nothing."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from replication.rules_file.applying import row_values
from replication.rules_file.sections import SECTIONS

_HEAD = (
    "# Written by `manage.py exportrules`, for `manage.py applyrules`. See docs/rules-file.md.\n"
)


def export_rules() -> str:
    """Return every source, destination, rule and queue as YAML; empty fields are left out."""
    document: dict[str, list[dict[str, Any]]] = {
        section.name: [
            {
                name: _escaped(value)
                for name, value in row_values(section, row).items()
                if value not in ("", [])
            }
            for row in section.rows().values()
        ]
        for section in SECTIONS
    }
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1_000_000  # a value is one line
    out = StringIO()
    yaml.dump(document, out)
    return _HEAD + out.getvalue()


def _escaped(value: Any) -> Any:
    """Between double quotes YAML escapes what it would otherwise take for a line's end."""
    if isinstance(value, str) and not value.isprintable():
        return DoubleQuotedScalarString(value)
    return value
