"""What pip-audit answers becomes the kept list; what it could not look up stays unknown."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from security import advisories, refresh
from security.advisories import Advisory, AdvisoryList, Package
from tests.support.paths import REPOSITORY

TODAY = date(2026, 12, 4)
ONE, TWO = Package("one", "1.0"), Package("two", "2.0")
OLD = Advisory(id="OLD-1", package="two", version="2.0", summary="Known from before.")
KEPT = AdvisoryList(date(2026, 1, 1), "by hand", frozenset({TWO.id}), (OLD,))
SKIPPED = {"name": "two", "skip_reason": "Dependency not found on PyPI and could not be audited"}
FOUND = {
    "name": "one",
    "version": "1.0",
    "vulns": [
        {
            "id": "PYSEC-1",
            "fix_versions": ["1.1"],
            "aliases": ["GHSA-1", "CVE-1"],
            "description": "Two\nlines.",
        }
    ],
}


def renewed(*dependencies: object) -> AdvisoryList:
    answer = {"dependencies": list(dependencies), "fixes": []}
    return refresh.renewed(
        KEPT, [([ONE, TWO], answer)], installed=[ONE, TWO], source="s", today=TODAY
    )


def test_an_answer_becomes_an_advisory_of_that_version() -> None:
    listed = renewed(FOUND, {"name": "two", "version": "2.0", "vulns": []})
    assert listed.looked_up == {ONE.id, TWO.id}
    assert listed.date == TODAY
    assert listed.advisories == (
        Advisory("PYSEC-1", "one", "1.0", "Two lines.", ("CVE-1", "GHSA-1"), ("1.1",)),
    )


def test_what_was_not_found_stays_unknown_and_keeps_its_advisories() -> None:
    listed = renewed(FOUND, SKIPPED)
    assert listed.looked_up == {ONE.id}
    assert OLD in listed.advisories


def test_a_service_that_knows_nothing_is_not_taken_for_good_news() -> None:
    with pytest.raises(refresh.NothingAnsweredError):
        renewed(SKIPPED)


def test_two_versions_of_a_package_are_asked_for_apart() -> None:
    """pip-audit refuses a name that is given twice; it knows PyPI alone."""
    other = Package("one", "2.0")
    script = Package("jquery", "3.7.1", registry="npm")
    assert refresh.groups([ONE, TWO, other, script]) == [[ONE, TWO], [other]]


def test_the_list_reads_back_and_is_written_in_one_order(tmp_path: Path) -> None:
    kept = AdvisoryList.read(advisories.ADVISORIES)
    assert refresh.as_text(kept).startswith('{\n "date"')
    path = tmp_path / "list.json"
    path.write_text(refresh.as_text(kept))
    assert AdvisoryList.read(path) == kept


PIP_AUDIT = """#!{python}
import json, sys
from pathlib import Path
pins = Path(sys.argv[sys.argv.index("-r") + 1]).read_text().split()
answers = []
for pin in pins:
    name, version = pin.split("==")
    if {knows}:
        answers.append({{"name": name, "version": version, "vulns": []}})
    else:
        answers.append({{"name": name, "skip_reason": "Dependency not found on PyPI"}})
print(json.dumps({{"dependencies": answers, "fixes": []}}))
"""


@pytest.mark.parametrize("knows", [True, False])
def test_the_list_is_written_unless_nothing_was_looked_up(tmp_path: Path, knows: bool) -> None:
    program, listed = tmp_path / "pip-audit", tmp_path / "advisories.json"
    program.write_text(PIP_AUDIT.format(python=sys.executable, knows=knows))
    program.chmod(0o755)
    before = advisories.ADVISORIES.read_text()
    listed.write_text(before)
    done = subprocess.run(
        [sys.executable, "-m", "security.refresh", "--pip-audit", program, "--advisories", listed],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if knows:
        assert done.returncode == 0, done.stderr
        kept = AdvisoryList.read(listed)
        assert kept.date == datetime.now(UTC).date()
        assert kept.looked_up == {
            each.id for each in advisories.installed() if each.registry == "pypi"
        }
    else:
        assert done.returncode == 1
        assert "The kept list is unchanged" in done.stderr
        assert listed.read_text() == before
