"""A known advisory is found offline, a judged one passes, and the age of the list is said."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from security import advisories, pins, vendored
from security.advisories import Advisory, AdvisoryList, Judgement, Package, Report, compare
from tests.support.paths import REPOSITORY

TODAY = date(2026, 12, 4)
PACKAGE = Package("example", "1.0", origin="requirements.txt")
ADVISORY = Advisory(
    id="PYSEC-2026-1",
    package="example",
    version="1.0",
    summary="Reads too much.",
    aliases=("CVE-2026-0001",),
    fixed_in=("1.1",),
)
KEPT = AdvisoryList(
    date=date(2026, 12, 1),
    source="pip-audit, pypi",
    looked_up=frozenset({PACKAGE.id}),
    advisories=(ADVISORY,),
)
JUDGED = Judgement(
    ids=("CVE-2026-0001",), package="example", version="1.0", why="Not used.", until=TODAY
)


def report(
    *packages: Package,
    kept: AdvisoryList = KEPT,
    judged: tuple[Judgement, ...] = (),
    release: bool = False,
) -> Report:
    return compare(packages or [PACKAGE], kept, judged, today=TODAY, release=release)


def test_the_age_of_the_list_is_said() -> None:
    assert report().heading == "Advisories of 2026-12-01, 3 days old (pip-audit, pypi)."


def test_a_pin_with_a_known_advisory_is_an_error_that_says_what_to_do() -> None:
    assert report().errors == [
        "PYSEC-2026-1: example 1.0 (requirements.txt): Reads too much. "
        "Raise it to 1.1, or judge it in security/judged.toml."
    ]


def test_another_version_of_the_package_has_no_advisory_and_was_never_looked_up() -> None:
    found = report(replace(PACKAGE, version="1.1"))
    assert not found.errors
    (warning,) = found.warnings
    assert warning.startswith("1 of 1 packages were never looked up")
    assert "example 1.1" in warning


def test_a_judged_advisory_passes_by_any_of_its_names() -> None:
    for name in ("CVE-2026-0001", "PYSEC-2026-1"):
        found = report(judged=(replace(JUDGED, ids=(name,)),))
        assert not found.errors
        assert not found.warnings
        assert found.notes == [
            "example 1.0 (requirements.txt): judged until 2026-12-04: PYSEC-2026-1"
        ]


def test_a_judgement_that_ended_fails_again() -> None:
    (error,) = report(judged=(replace(JUDGED, until=TODAY - timedelta(days=1)),)).errors
    assert "The judgement ended on 2026-12-03: look again" in error


def test_a_judgement_holds_for_its_version_alone() -> None:
    found = report(judged=(replace(JUDGED, version="0.9"),))
    assert found.errors
    assert "no longer needed" in found.warnings[0]


def test_an_old_list_warns_and_is_refused_by_a_release() -> None:
    """An old tag can still be checked, and nothing is released with it."""
    old = replace(KEPT, date=TODAY - timedelta(days=31), advisories=())
    assert report(kept=old).warnings == ["The list is over 30 days old: run `make advisories`."]
    assert not report(kept=old).errors
    assert report(kept=old, release=True).errors
    assert not report(kept=replace(old, date=TODAY - timedelta(days=30)), release=True).errors


def test_a_release_is_refused_if_what_it_ships_was_never_looked_up() -> None:
    unknown = replace(KEPT, looked_up=frozenset(), advisories=())
    assert report(kept=unknown, release=True).errors
    tool = replace(PACKAGE, is_shipped=False)
    assert not report(tool, kept=unknown, release=True).errors


def test_all_pins_and_all_vendored_libraries_are_compared() -> None:
    compared = {(each.name, each.version) for each in advisories.installed()}
    for path in pins.files():
        assert {(pin.name, pin.version) for pin in pins.read(path)} <= compared
    assert {(each.name, each.version) for each in vendored.libraries()} <= compared


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "security.advisories", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the kept list, and what is in it."""
    path = tmp_path / "advisories.json"
    return path, json.loads(advisories.ADVISORIES.read_text())


def test_make_check_finds_an_advisory_against_a_pin(
    listed: tuple[Path, dict[str, Any]],
) -> None:
    path, document = listed
    django = next(pin for pin in pins.read(pins.IMAGE) if pin.name == "django")
    document["date"] = (datetime.now(UTC).date() - timedelta(days=3)).isoformat()
    document["advisories"].append(
        {"id": "X-1", "package": "django", "version": django.version, "summary": "Bad."}
    )
    path.write_text(json.dumps(document))
    found = run("--advisories", path)
    assert found.returncode == 1, found.stderr
    assert found.stdout.startswith(f"Advisories of {document['date']}, 3 days old")
    assert f"ERROR: X-1: django {django.version} (requirements.txt): Bad." in found.stdout


def test_the_vendored_libraries_would_fail_without_their_judgements(tmp_path: Path) -> None:
    nothing = tmp_path / "judged.toml"
    nothing.write_text("")
    found = run("--judged", nothing)
    assert found.returncode == 1
    for cve in ("CVE-2018-18074", "CVE-2020-26137", "CVE-2021-33503"):
        assert f"ERROR: {cve}: " in found.stdout


def test_every_judgement_has_a_reason_and_an_end_within_a_year() -> None:
    kept = AdvisoryList.read(advisories.ADVISORIES)
    for each in advisories.judgements(advisories.JUDGED):
        assert each.why.strip()
        assert each.until <= kept.date + timedelta(days=366)
