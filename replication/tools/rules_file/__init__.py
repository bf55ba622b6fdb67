"""Sources, destinations, rules and queues as a YAML file. docs/guides/rules-file.md describes it.

An entry of the file is complete: a field that it leaves out gets its default. Rows that the file
does not mention stay as they are.
"""

from replication.tools.rules_file.applying import Applied, Change, FieldChange, apply_rules
from replication.tools.rules_file.exporting import export_rules
from replication.tools.rules_file.reading import MAX_FILE_BYTES, Mistake, RulesFileError

__all__ = [
    "MAX_FILE_BYTES",
    "Applied",
    "Change",
    "FieldChange",
    "Mistake",
    "RulesFileError",
    "apply_rules",
    "export_rules",
]
