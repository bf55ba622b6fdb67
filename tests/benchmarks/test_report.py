"""The report of a sitting has the same figures in Markdown and in JSON."""

import json

import pytest

from benchmarks import report
from benchmarks.report import Check, Row


@pytest.fixture
def row() -> Row:
    row = Row("Small objects", ratio_of="objects_a_second", notes=["A note."])
    for ours, theirs in ((900.0, 1000.0), (1000.0, 2000.0), (1200.0, 2500.0)):
        row.add("s3sync", objects_a_second=ours, cpu_ms=0.5)
        row.add("peer", objects_a_second=theirs)
    return row


def test_medians_ranges_and_ratios_are_in_the_table_and_in_the_json(row: Row) -> None:
    lines = row.as_markdown().splitlines()
    assert "| | objects a second | cpu ms | s3sync / peer |" in lines
    assert "| s3sync | 1,000 (900–1,200) | 0.50 (0.50–0.50) |  |" in lines
    assert "| peer | 2,000 (1,000–2,500) |  | 0.50 |" in lines
    figures = json.loads(report.as_json({"small_local": row}, {}))["rows"]["small_local"]
    assert figures["s3sync"]["objects_a_second"] == {
        **{"median": 1000, "low": 900, "high": 1200},
        "runs": [900, 1000, 1200],
    }
    assert figures["peer"]["ratio_of_ours_to_it"] == 0.5


def test_a_check_is_met_at_its_bound_and_a_missed_aim_is_not_a_missed_check(row: Row) -> None:
    row.checks = [
        Check("ratio", 0.5, at_least=0.5, aim=1.0),
        Check("lag", 0.9, at_most=0.8),
        Check("wish", 1.0, aim=2.0),
    ]
    rows = {"small_local": row}
    assert [(name, check.name) for name, check in report.missed_checks(rows)] == [
        ("small_local", "lag")
    ]
    text = report.as_markdown(rows, {"machine": "2 cores"})
    assert "Missed: small_local: lag." in text
    assert "| ratio | 0.50 | at least 0.5 ✓ | 1 |" in text
    assert "| lag | 0.90 | at most 0.8 **missed** |  |" in text
    written = row.as_json()
    assert written["checks"] == [
        {"name": "ratio", "value": 0.5, "at_least": 0.5, "is_met": True},
        {"name": "lag", "value": 0.9, "at_most": 0.8, "is_met": False},
    ]
    assert [aim["is_met"] for aim in written["aims"]] == [False, False]
