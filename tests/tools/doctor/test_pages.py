"""docs/guides/doctor.md has each check, level, option and exit status.

docs/guides/setup.md shows what the command prints.
"""

import io
import json
import re
from pathlib import Path

from django.conf import settings
from django.core.management import BaseCommand, call_command

from replication.management.commands.doctor import Command
from replication.tools.doctor import Check, Level
from tests.tools.doctor.conftest import Green

DOCS = Path(settings.BASE_DIR) / "docs"
PAGE = (DOCS / "guides/doctor.md").read_text()
SETUP = (DOCS / "guides/setup.md").read_text()


def rows(header: str) -> list[str]:
    """The first cells of the table with this header."""
    _, _, rest = PAGE.partition(f"| {header} |")
    table = rest.partition("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1].strip() for line in table]


def quoted(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^` ]+)[^`]*`", cell)}


def test_every_check_level_option_and_exit_status_is_documented() -> None:
    assert quoted(rows("check")) == set(Check)
    assert quoted(rows("level")) == set(Level)
    assert set(rows("exit status")) == {"0", "1", "2"}
    parser = Command().create_parser("manage.py", "doctor")
    of_all = BaseCommand().create_parser("manage.py", "doctor")
    ours = parser._option_string_actions.keys() - of_all._option_string_actions.keys()
    assert quoted(rows("option")) == ours


def checks_of(text: str) -> list[tuple[str, str]]:
    """The signs and checks of a report, in order."""
    return re.findall(r"^  (ok|warn|FAIL|\?) +([a-z.-]+)  ", text, re.MULTILINE)


def test_the_setup_page_shows_what_doctor_reports_and_the_json_is_as_documented(
    green: Green,
) -> None:
    (shown,) = re.findall(r"```text\n(the service\n.*?)```", SETUP, re.DOTALL)
    green.works_as_user_without()
    out = io.StringIO()
    call_command("doctor", stdout=out)
    printed = out.getvalue()
    assert checks_of(printed) == checks_of(shown)
    assert printed.splitlines()[-1] == shown.splitlines()[-1]

    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    out = io.StringIO()
    call_command("doctor", "--json", stdout=out)
    documented, reported = json.loads(example), json.loads(out.getvalue())
    assert reported.keys() == documented.keys()
    assert reported["counts"].keys() == documented["counts"].keys()
    assert reported["findings"][0].keys() == documented["findings"][0].keys()
