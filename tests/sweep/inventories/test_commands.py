"""`manage.py inventories` and `manage.py sweepsql`, on two real buckets and their inventories."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from replication.models import Job, Source, SourceKind
from replication.sweep.inventories.key_lists import KeyListFormat, read_keys
from tests.support.road import Road, work
from tests.sweep.inventories import files, samples
from tests.sweep.inventories.files import write_oss, write_s3_csv
from tests.sweep.inventories.samples import Entry, md5

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["a b", "line\nbreak", "emoji \U0001f600", "c+d", "%"]


@pytest.fixture
def names(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample inventories are of the road's buckets."""
    for module in (files, samples):
        monkeypatch.setattr(module, "SOURCE_BUCKET", road.source.bucket)
        monkeypatch.setattr(module, "DESTINATION_BUCKET", road.destination.bucket)


def run(road: Road, *options: str) -> tuple[list[str], str, int]:
    """The keys, what is said beside them, and the exit status."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("inventories", road.rule.name, *options, stdout=out, stderr=err)
    content = out.getvalue().encode()
    keys = list(read_keys(io.BytesIO(content), KeyListFormat.URL))
    return keys, err.getvalue(), int(ended.value.code or 0)


def entries(*keys: str) -> list[Entry]:
    return [Entry(key, len("content"), md5("content"), modified=datetime.now(UTC)) for key in keys]


@pytest.mark.usefixtures("names")
def test_differing_keys_are_printed_and_nothing_is_changed(road: Road, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    source = write_s3_csv(tmp_path / "s3", entries("same", *KEYS))
    destination = write_oss(tmp_path / "oss", entries("same", "foreign key"))
    extras = tmp_path / "extras.csv"
    sides = ["--source", str(source), "--destination", str(destination)]
    keys, said, status = run(road, *sides, "--extras", str(extras), "--temp", str(temporary))
    assert (sorted(keys), status) == (sorted(KEYS), 1)
    assert said.startswith(
        "5 keys to look at (5 missing), and left alone: 1 only at the destination. "
        "Source as of 2026-11-29 01:00Z, destination as of 2026-11-29 01:00Z"
    )
    assert extras.read_text().splitlines() == [
        "OnlyAtDestination,Note",
        "foreign%20key,never delete because of an inventory",
    ]
    assert list(temporary.iterdir()) == []
    assert not Job.objects.exists()


@pytest.mark.usefixtures("names")
def test_the_destination_is_listed_if_it_has_no_inventory(road: Road, tmp_path: Path) -> None:
    for key in KEYS:
        road.put(key)
    work()
    source = write_s3_csv(tmp_path / "s3", entries(*KEYS))
    keys, said, status = run(road, "--source", str(source), "--memory", "64MB")
    assert (keys, status) == ([], 0), said
    source = write_s3_csv(tmp_path / "later", entries(*KEYS, "lost"))
    keys, said, status = run(road, "--source", str(source), "--temp", str(tmp_path))
    assert (keys, status) == (["lost"], 1)


@pytest.mark.usefixtures("names")
def test_the_source_is_listed_if_it_has_no_inventory(road: Road, tmp_path: Path) -> None:
    for key in KEYS:
        road.put(key)
    destination = write_oss(tmp_path / "oss", entries(*KEYS[1:]))
    keys, _, status = run(road, "--destination", str(destination))
    assert (keys, status) == (KEYS[:1], 1)


def test_what_can_not_be_found_out_ends_with_status_2(road: Road, tmp_path: Path) -> None:
    foreign = str(write_s3_csv(tmp_path / "s3", entries("a")))
    for options, message in [
        ([], "Name the manifest of an inventory with --source"),
        (["--source", foreign], f"but the rule's bucket is {road.source.bucket}"),
        (["--source", str(tmp_path / "none.json")], "none.json can't be read: No such file"),
        (["--source", foreign, "--temp", str(tmp_path / "none")], "can't be used: No such file"),
    ]:
        keys, said, status = run(road, *options)
        assert (keys, status) == ([], 2)
        assert message in said
    Source.objects.filter(pk=road.source.pk).update(
        kind=SourceKind.HTTP, bucket="", endpoint_url="http://example.com"
    )
    assert "a web server, which has no inventory" in run(road, "--source", foreign)[1]


@pytest.mark.usefixtures("names")
def test_a_side_that_can_not_be_listed_ends_with_status_2(road: Road, tmp_path: Path) -> None:
    source = str(write_s3_csv(tmp_path / "s3", entries("a")))
    road.replicas.delete_bucket()
    keys, said, status = run(road, "--source", source)
    assert (keys, status) == ([], 2)
    assert "destination_bucket_missing" in said


def test_an_unknown_rule_is_named(road: Road) -> None:
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit, match="2"):
        call_command("inventories", "nope", stdout=out, stderr=err)
    assert f"no rule named 'nope'; there are: {road.rule.name}" in err.getvalue()


def test_the_sql_for_athena_is_printed(road: Road) -> None:
    out = io.StringIO()
    tables = ["--source-table", "inventories.s3", "--destination-table", "inventories.oss"]
    options = ["--source-columns", "is_latest", "is_delete_marker", "--source-dt", "2026-11-29"]
    call_command("sweepsql", road.rule.name, *tables, *options, stdout=out)
    text = out.getvalue()
    assert "FROM (SELECT * FROM inventories.s3 WHERE dt = '2026-11-29')" in text
    assert "FROM inventories.oss" in text
    assert text.count("is_latest") == 1
    assert f"'{road.source.bucket}' AS \"Bucket\"" in text


@pytest.mark.parametrize(
    ("rule", "table", "message"),
    [
        ("nope", "a", "there is no rule named 'nope'"),
        ("rule", "a b", "'a b' is no name of a table"),
    ],
)
def test_sql_that_can_not_be_made_is_refused(
    road: Road, rule: str, table: str, message: str
) -> None:
    name = road.rule.name if rule == "rule" else rule
    with pytest.raises(CommandError, match=message):
        call_command("sweepsql", name, "--source-table", table, "--destination-table", "b")
