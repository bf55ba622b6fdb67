"""`manage.py reconcile --keys` says of keys what a comparison of the buckets says of them."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from replication.intake.matching import look_again
from replication.models import (
    Job,
    JobOrigin,
    JobState,
    ReplicationRule,
    Source,
    SourceKind,
    Sweep,
)
from replication.sweep import causes, key_list, key_looks, slices
from replication.sweep.inventories.key_lists import encode_key
from sandbox.oss import Fault
from tests.support.lanes import lanes
from tests.support.road import Road, work
from tests.sweep.test_reconcile import ODD, put, reconcile, verdicts

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too, and nobody waits long."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    monkeypatch.setattr(key_looks, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(slices, "RETRY_SECONDS", (0, 0))


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., str]:
    """Writes a list of keys, URL-encoded; returns the option that names it."""

    def write(*keys: str, name: str = "keys.txt") -> str:
        file = tmp_path / name
        file.write_text("".join(f"{encode_key(key)}\n" for key in keys))
        return f"--keys={file}"

    return write


def outcome(road: Road, *options: str) -> tuple[list[str], str, int]:
    """The lines of the report, what is said beside them, and the exit status."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", road.rule.name, "--settle=0", *options, stdout=out, stderr=err)
    return out.getvalue().splitlines(), err.getvalue(), int(ended.value.code or 0)


def refusal(road: Road, *options: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("reconcile", road.rule.name, *options, stdout=io.StringIO())
    assert refused.value.returncode == 2
    return str(refused.value)


def test_all_keys_of_two_buckets_are_judged_as_by_their_listings(
    make_road: Callable[..., Road], listed: Callable[..., str]
) -> None:
    road = make_road(
        delete_policy="mirror", source_prefix="p/", destination_prefix="q/", exclude="p/out*"
    )
    # HEAD tells times by the second.
    ReplicationRule.objects.update(created_at=Now() - timedelta(minutes=1))
    keys = []
    for number, name in enumerate([*ODD, "out of the rule", *(f"plain {n}" for n in range(8))]):
        key, body = f"p/{name}", f"{number}".encode()
        kind = ("equal", "missing", "altered", "extra")[number % 4]
        if kind != "extra" and not put(road.s3, road.source.bucket, key, body):
            continue
        keys.append(key)
        if kind != "missing":
            replica = body + b"!" if kind == "altered" else body
            road.replicas.put_object(road.rule.destination_key(key), replica)
    by_listing, status = reconcile(road.rule)
    by_list, status_of_list = reconcile(road.rule, listed(*keys))
    assert (status, status_of_list) == (1, 1)
    assert verdicts(by_list) == verdicts(by_listing)
    assert set(verdicts(by_list).values()) == {"missing", "different", "extra"}
    assert by_list.keys() == by_listing.keys()
    for name in ("missing", "different", "extra", "left_out", "lost", "foreign", "missing_bytes"):
        assert by_list["counts"][name] == by_listing["counts"][name], name
    assert by_list["lost"]["by_folder"] == by_listing["lost"]["by_folder"]
    assert by_list["keys"] == by_listing["keys"]
    assert [one["cause"] for one in by_list["findings"]] == [
        one["cause"] for one in by_listing["findings"]
    ]
    assert Sweep.objects.count() == 1  # of the listings
    assert not Job.objects.exists()


def test_equal_keys_end_with_status_0_and_cost_a_look_at_each_side(
    road: Road, listed: Callable[..., str]
) -> None:
    for key in ("a", "b+ c", "d"):
        road.put(key)
    work()
    road.put("elsewhere", b"not in the list")
    report, status = reconcile(road.rule, listed("a", "b+ c"))
    assert (report["counts"]["equal"], report["findings"], status) == (2, [], 0)
    assert (report["is_equal"], report["sweep"], report["level"]) == (True, None, "head")
    assert report["requests"] == {"source": 2, "destination": 2, "throttled": 0}


def test_differences_are_mended_by_jobs_below_the_priority_of_events(
    make_road: Callable[..., Road], listed: Callable[..., str]
) -> None:
    road = make_road(delete_policy="mirror")
    for key in ("missing", "different", "gone", "equal"):
        road.put(key)
    work()
    road.replicas.delete_object("missing")
    road.replicas.put_object("different", b"something else")
    road.replicas.put_object("foreign", b"nobody's")
    road.s3.delete_object(Bucket=road.source.bucket, Key="gone")
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    keys = listed("missing", "different", "foreign", "gone", "equal")
    with lanes():
        report, status = reconcile(road.rule, keys, "--mend")
    found = {one["key"]: (one["verdict"], one["state"]) for one in report["findings"]}
    assert found == {
        "missing": ("missing", "mended"),
        "different": ("different", "mended"),
        "foreign": ("extra", "confirmed"),
        "gone": ("extra", "confirmed"),
    }
    assert (status, report["differences"], report["counts"]["foreign"]) == (1, 1, 1)
    ordered = Job.objects.filter(origin=JobOrigin.SWEEP)
    assert set(ordered.values_list("key", "priority")) == {("missing", 20), ("different", 20)}
    with lanes():
        lines, _, status = outcome(road, keys, "--mend-extras")
    assert status == 0, lines
    assert "extra      'gone': no event told of its last change [mended]" in lines
    assert road.replica("gone") is None
    assert road.replica("foreign") == b"nobody's"


def test_extras_are_kept_by_a_rule_that_keeps_them(road: Road, listed: Callable[..., str]) -> None:
    road.put("a")
    work()
    road.s3.delete_object(Bucket=road.source.bucket, Key="a")
    report, status = reconcile(road.rule, listed("a"), "--mend-extras")
    assert (report["findings"], report["counts"]["kept"], status) == ([], 1, 0)
    assert road.replica("a") == b"content"


def test_a_waiting_job_is_left_as_it_is_and_its_key_is_no_difference(
    road: Road, listed: Callable[..., str]
) -> None:
    road.put("a")
    work()
    road.replicas.delete_object("a")
    [job_id] = look_again(road.rule, ["a"])
    report, status = reconcile(road.rule, listed("a"), "--mend")
    assert (report["findings"], report["counts"]["under_way"], status) == ([], 1, 0)
    assert Job.objects.get(state=JobState.PENDING).pk == job_id


def test_jobs_that_do_not_get_through_are_not_waited_for_without_end(
    road: Road, listed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_looks, "JOBS_SECONDS", 0.1)  # and no lane is alive
    put(road.s3, road.source.bucket, "a", b"content")
    report, status = reconcile(road.rule, listed("a"), "--mend")
    [finding] = report["findings"]
    assert (finding["cause"], finding["state"], status) == ("pending", "gone", 0)
    assert (report["counts"]["under_way"], report["counts"]["missing"]) == (1, 0)


def test_a_list_is_settled_while_it_is_read(
    road: Road, listed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_list, "LOOKS", 5)
    monkeypatch.setattr(key_list, "MOST_WAITING", 10)
    most = 0
    see = key_list.KeyListComparison._see

    def watch(self: Any, keys: Any) -> Any:
        nonlocal most
        most = max(most, self.waiting)
        return see(self, keys)

    monkeypatch.setattr(key_list.KeyListComparison, "_see", watch)
    keys = [f"{number:03d}" for number in range(60)]
    for key in keys:
        road.put(key)
    report, status = reconcile(road.rule, listed(*keys))
    assert (verdicts(report), status) == (dict.fromkeys(keys, "missing"), 1)
    assert 0 < most <= 15


def test_formats_are_told_by_the_name_of_the_file_or_by_an_option(
    road: Road, tmp_path: Path
) -> None:
    for key in ("a+b", "a b"):
        road.put(key)
    csv, url, plain = (tmp_path / name for name in ("keys.CSV", "keys.txt", "keys"))
    csv.write_text(f"Bucket,Key,Reason\n{road.source.bucket},a%2Bb,missing\n")
    url.write_text("a%2Bb\na%20b\n")
    plain.write_text("a+b\na b\n")
    for file, options, missing in [
        (csv, [], {"a+b"}),
        (url, [], {"a+b", "a b"}),
        (plain, ["--keys-format=plain"], {"a+b", "a b"}),
    ]:
        report, status = reconcile(road.rule, f"--keys={file}", *options)
        assert (set(verdicts(report)), status) == (missing, 1), file
    report, status = reconcile(road.rule, f"--keys={url}", "--keys-format=plain")
    assert (verdicts(report), status) == ({}, 0)
    assert "2 keys are on neither side." in report["stderr"]
    assert "see --keys-format" in report["stderr"]


def test_a_line_that_is_no_key_of_the_rule_is_named_and_ends_with_status_2(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    road = make_road(source_prefix="p/")
    file = tmp_path / "keys.txt"
    for content, message in [
        ("p/a\n\nq/b\n", "line 3: the key 'q/b' does not begin with 'p/'"),
        ("p/a\np/%zz\n", "line 2 is not URL-encoded"),
    ]:
        file.write_text(content)
        _, said, status = outcome(road, f"--keys={file}")
        assert status == 2
        assert f"The comparison is failed: {file}, {message}" in said
    file.write_text("Bucket,Key\nother,p/a\n")
    _, said, status = outcome(road, f"--keys={file}", "--keys-format=csv")
    assert (status, "line 2 is of bucket other" in said) == (2, True)


def test_what_can_not_be_compared_at_all_is_refused(road: Road, listed: Callable[..., str]) -> None:
    keys = listed("a")
    assert "none.txt can't be read: No such file" in refusal(road, "--keys=none.txt")
    for option in ("--prefix=a", "--level=full", "--rate=1", "--requests=1", "--detach"):
        assert "is for comparing by listings" in refusal(road, keys, option)
    assert "needs --keys" in refusal(road, "--keys-format=url")
    ReplicationRule.pause(ReplicationRule.objects.all())
    assert "is paused: resume it first" in refusal(road, keys, "--mend")
    ReplicationRule.objects.update(enabled=False)
    assert "is disabled: enable it first" in refusal(road, keys, "--mend-extras")
    Source.objects.update(kind=SourceKind.HTTP, bucket="", endpoint_url="http://example.com")
    assert "is a web server" in refusal(road, keys)


def test_a_side_that_is_away_for_a_moment_costs_a_moment(
    road: Road, listed: Callable[..., str]
) -> None:
    road.put("a")
    work()
    road.oss.add_fault(Fault(operation="HeadObject", status=503, times=2))
    report, status = reconcile(road.rule, listed("a"))
    assert (report["counts"]["equal"], status) == (1, 0)
    road.oss.add_fault(Fault(operation="HeadObject", status=503, times=None))
    report, status = reconcile(road.rule, listed("a"))
    assert (status, report["state"], report["is_equal"]) == (2, "failed", None)
    assert "The comparison is failed: destination_unavailable" in report["stderr"]


def test_a_change_of_the_rule_ends_the_comparison(
    road: Road, listed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.put("a")
    first = key_list.KeyListComparison._look_first

    def edit(self: Any, keys: Any) -> Any:
        yield from first(self, keys)
        ReplicationRule.objects.update(destination_prefix="elsewhere/")

    monkeypatch.setattr(key_list.KeyListComparison, "_look_first", edit)
    _, said, status = outcome(road, listed("a"))
    assert (status, "was changed meanwhile: start again" in said) == (2, True)
