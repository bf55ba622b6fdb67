"""`manage.py verify` says for each key whether the replica is what the rule would write."""

import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from replication.models import DeletePolicy, Job, JobState, Source
from sandbox.oss import Denial, Fault
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024**2


def verify(road: Road, *keys: str, **options: Any) -> tuple[list[str], int]:
    """Run the command; returns its lines and its exit status."""
    out = io.StringIO()
    try:
        call_command("verify", road.rule.name, *keys, stdout=out, stderr=io.StringIO(), **options)
    except CommandError as error:
        return out.getvalue().splitlines(), error.returncode
    return out.getvalue().splitlines(), 0


def verdict(road: Road, key: str) -> str:
    """What the command prints for the key, after a check that the exit status agrees."""
    [line], status = verify(road, key)
    found_key, _, said = line.partition("\t")
    assert found_key == key
    assert status == (0 if said == "equal" else 1)
    return said


def overwrite(road: Road, key: str, body: bytes, *, without: str = "", **headers: str) -> None:
    """Write a replica again with its own headers, except those changed or left out."""
    kept = {
        name: value
        for name, value in road.replicas.head_object(key).headers.items()
        if name.lower().startswith(("x-oss-meta-", "content-type", "cache-control"))
        and name.lower() != without
    }
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    tags = road.replicas.get_object_tagging(key).tag_set.tagging_rule
    if tags:
        kept["x-oss-tagging"] = "&".join(f"{name}={value}" for name, value in tags.items())
    road.replicas.put_object(key, body, headers={**kept, **changed})


@pytest.fixture
def copied(road: Road) -> Road:
    """A set-up with a replica, `a`, that has everything a replica can have."""
    road.put(
        "a",
        b"content",
        ContentType="text/plain",
        CacheControl="max-age=60",
        Metadata={"owner": "me"},
        Tagging="year=2026",
    )
    work()
    return road


def test_an_untouched_replica_is_equal(copied: Road) -> None:
    assert verdict(copied, "a") == "equal"


def test_one_changed_byte_of_a_replica_of_the_same_length_is_noticed(copied: Road) -> None:
    overwrite(copied, "a", b"Content")
    assert verdict(copied, "a").startswith("differs: CRC-64 is ")


def test_another_length_is_noticed_without_reading_the_replica(copied: Road) -> None:
    overwrite(copied, "a", b"content and more")
    copied.oss.log.clear()
    assert verdict(copied, "a") == "differs: length is 16 bytes, not 7"
    assert not copied.oss.requests(operation="GetObject")


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        ({"x_oss_meta_owner": "you"}, "metadata 'owner' is 'you', not 'me'"),
        ({"without": "x-oss-meta-owner"}, "metadata 'owner' is missing"),
        ({"x_oss_meta_more": "1"}, "metadata 'more' should not be there"),
        ({"Cache_Control": "no-cache"}, "header 'cache-control' is 'no-cache', not 'max-age=60'"),
        ({"Content_Language": "de"}, "header 'content-language' should not be there"),
        ({"x_oss_tagging": "year=2025"}, "tag 'year' is '2025', not '2026'"),
        ({"x_oss_storage_class": "IA"}, "storage class is IA, not Standard"),
    ],
)
def test_attributes_are_compared(copied: Road, altered: dict[str, str], said: str) -> None:
    overwrite(copied, "a", b"content", **altered)
    assert verdict(copied, "a") == f"differs: {said}"


def test_all_differences_are_listed(copied: Road) -> None:
    overwrite(copied, "a", b"Content", x_oss_meta_owner="you", x_oss_storage_class="IA")
    said = verdict(copied, "a").removeprefix("differs: ").split("; ")
    assert [one.split(" is ")[0] for one in said] == ["CRC-64", "metadata 'owner'", "storage class"]


def test_the_rules_encryption_is_compared(copied: Road) -> None:
    copied.rule.encryption = "AES256"
    copied.rule.save()
    assert verdict(copied, "a") == "differs: encryption is none, not AES256"


def test_a_replica_that_was_deleted_is_missing(copied: Road) -> None:
    copied.replicas.delete_object("a")
    assert verdict(copied, "a") == "missing at the destination"


def test_a_replica_that_the_rule_keeps_is_extra(copied: Road) -> None:
    copied.s3.delete_object(Bucket=copied.source.bucket, Key="a")
    work()
    assert verdict(copied, "a") == "extra"


def test_a_key_that_never_existed_is_absent_on_both_sides(road: Road) -> None:
    assert verdict(road, "a") == "absent on both sides"


def test_compressed_content_is_compared_as_it_is_stored(road: Road) -> None:
    road.put("a", gzip.compress(b"content" * 1000), ContentEncoding="gzip")
    work()
    assert verdict(road, "a") == "equal"
    # Another compression of the same content is not the same object.
    other = gzip.compress(b"content" * 1000, mtime=12345)
    stored = road.replicas.head_object("a").headers
    kept = {n: v for n, v in stored.items() if n.lower().startswith(("x-oss-meta-", "content-t"))}
    road.replicas.put_object("a", other, headers={**kept, "Content-Encoding": "gzip"})
    assert verdict(road, "a").startswith("differs: CRC-64 is ")


@pytest.mark.parametrize("key", ["/a", "a\x01b", "k" * 1024, ".s3sync-key/escaped/a"])
def test_the_replica_of_a_rewritten_key_is_looked_up_under_the_rewritten_key(
    make_road: Callable[..., Road], key: str
) -> None:
    road = make_road(key_policy="rewrite", metadata_policy="rewrite")
    road.put(key, Metadata={"taken_by": "me"})
    work()
    assert verify(road, key)[1] == 0
    [line], _ = verify(road, key, json=True)
    assert json.loads(line)["destination_key"].startswith(".s3sync-key/")
    road.replicas.delete_object(json.loads(line)["destination_key"])
    assert verify(road, key)[1] == 1


def test_a_key_that_the_rule_leaves_out_is_not_equal(make_road: Callable[..., Road]) -> None:
    road = make_road(key_policy="skip")
    road.put("/a")
    assert verdict(road, "/a") == "left out: it begins with '/', which OSS refuses"


def test_a_key_that_the_rule_fails_is_not_compared(road: Road) -> None:
    road.put("/a")
    assert verdict(road, "/a").startswith("not compared: key_incompatible: ")


def test_an_object_that_the_rule_fails_is_not_compared(road: Road) -> None:
    road.put("a", Metadata={"taken_by": "me"})
    assert verdict(road, "a").startswith("not compared: metadata_incompatible: ")


def test_a_replica_that_can_not_be_read_does_not_stop_the_other_keys(copied: Road) -> None:
    copied.put("b")
    work()
    overwrite(copied, "a", b"content", x_oss_storage_class="Archive")
    lines, status = verify(copied, "a", "b")
    assert lines[0].startswith("a\tnot compared: destination_archived")
    assert (lines[1], status) == ("b\tequal", 1)


def test_an_interrupted_read_is_never_called_equal(copied: Road) -> None:
    copied.oss.add_fault(Fault(operation="GetObject", truncate_bytes=3, times=None))
    assert verify(copied, "a") == ([], 2)
    copied.oss.clear_faults()
    copied.oss.add_fault(Fault(operation="GetObject", truncate_bytes=3))
    assert verify(copied, "a") == (["a\tequal"], 0)  # verify read it once more


def test_results_are_in_the_order_of_the_keys(road: Road) -> None:
    keys = [f"k{number}" for number in range(40)]
    for key in keys[::2]:
        road.put(key)
    work()
    lines, status = verify(road, *keys, threads=4)
    assert [line.split("\t") for line in lines] == [
        [key, "absent on both sides" if number % 2 else "equal"] for number, key in enumerate(keys)
    ]
    assert status == 1


def test_keys_are_read_from_a_file_unchanged(copied: Road, tmp_path: Path) -> None:
    for key in (" a ", "a,b", "图"):
        copied.put(key)
    work()
    file = tmp_path / "keys"
    file.write_bytes("a\r\n a \na,b\n图".encode())
    assert verify(copied, keys=str(file)) == (
        ["a\tequal", " a \tequal", "a,b\tequal", "图\tequal"],
        0,
    )


def test_keys_are_read_from_standard_input(copied: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    assert verify(copied, keys="-") == (["a\tequal", "b\tabsent on both sides"], 1)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("given_by", ["file", "standard input"])
def test_a_byte_order_mark_of_windows_is_no_part_of_the_first_key(
    copied: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_end: str, given_by: str
) -> None:
    content = b"\xef\xbb\xbf" + f"a{line_end}b{line_end}".encode()
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    lines, _ = verify(copied, keys=str(file) if given_by == "file" else "-")
    assert lines == ["a\tequal", "b\tabsent on both sides"]


def test_each_key_is_a_line_of_json(copied: Road) -> None:
    overwrite(copied, "a", b"content", x_oss_meta_owner="you")
    lines, status = verify(copied, "a", "b", json=True)
    assert [json.loads(line) for line in lines] == [
        {
            "key": "a",
            "verdict": "differs",
            "destination_key": "a",
            "reasons": ["metadata 'owner' is 'you', not 'me'"],
            "code": None,
            "has_unfinished_job": False,
        },
        {
            "key": "b",
            "verdict": "absent on both sides",
            "destination_key": "b",
            "reasons": [],
            "code": None,
            "has_unfinished_job": False,
        },
    ]
    assert status == 1


def test_a_key_can_not_write_to_the_terminal(road: Road) -> None:
    [line], _ = verify(road, "a\x1b[2J\nb")
    assert line.startswith("'a\\x1b[2J\\nb'\tnot compared: ")
    assert "\x1b" not in line


def test_enqueue_repairs_the_keys_that_differ(copied: Road) -> None:
    for key in ("b", "c"):
        copied.put(key)
    work()
    overwrite(copied, "a", b"Content")
    copied.replicas.delete_object("b")
    finished = Job.objects.count()
    assert verify(copied, "a", "b", "c", "d", enqueue=True)[1] == 1
    pending = Job.objects.filter(state=JobState.PENDING)
    assert set(pending.values_list("key", flat=True)) == {"a", "b"}
    assert Job.objects.count() == finished + 2
    lines, _ = verify(copied, "a")
    assert lines[0].endswith(" (a job of this key is not finished)")
    work()
    assert verify(copied, "a", "b", "c")[1] == 0


@pytest.mark.parametrize(("policy", "jobs"), [("keep", 0), ("mirror", 1)])
def test_an_extra_replica_is_looked_at_where_deletes_are_mirrored(
    make_road: Callable[..., Road], policy: str, jobs: int
) -> None:
    road = make_road(delete_policy=DeletePolicy(policy))
    road.replicas.put_object("a", b"of somebody else")
    verify(road, "a", enqueue=True)
    assert Job.objects.count() == jobs


def test_a_large_object_takes_little_memory(road: Road) -> None:
    road.put("a", bytes(24 * MIB))
    work()
    tracemalloc.start()
    try:
        assert verdict(road, "a") == "equal"
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 * MIB


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "a"], "there is no rule named 'nobody'; there are: "),
        (["RULE"], "name keys, or a file of keys with --keys"),
        (["RULE", "--keys", "/nowhere/keys"], "/nowhere/keys can't be read: No such file"),
        (["RULE", "k" * 1025], "KEY 1 has 1025 bytes; S3 keys have 1 to 1024"),
        (["RULE", "a", "--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_a_wrong_argument_is_reported(road: Road, arguments: list[str], said: str) -> None:
    arguments = [argument.replace("RULE", road.rule.name) for argument in arguments]
    with pytest.raises(CommandError, match=said) as caught:
        call_command("verify", *arguments)
    assert caught.value.returncode == 2


def test_an_unreachable_database_is_not_reported_as_a_difference() -> None:
    done = subprocess.run(
        [sys.executable, settings.BASE_DIR / "manage.py", "verify", "photos", "a"],
        env={**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_utf8_is_reported(road: Road, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"a\n\xff\n")
    with pytest.raises(CommandError, match="is not UTF-8"):
        call_command("verify", road.rule.name, keys=str(tmp_path / "keys"))


def test_an_unreachable_source_ends_the_command_with_the_fix(copied: Road) -> None:
    Source.objects.update(endpoint_url="http://127.0.0.1:9")
    with pytest.raises(CommandError, match="check the source's endpoint") as caught:
        call_command("verify", copied.rule.name, "a")
    assert "stopped after 0 keys: source_unreachable" in str(caught.value)
    assert caught.value.returncode == 2


def test_the_fix_for_a_missing_grant_is_printed_once(
    copied: Road, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.put("b")
    work()
    copied.oss.deny(Denial(actions=("oss:GetObject",)))
    with pytest.raises(CommandError, match="2 not compared"):
        call_command("verify", copied.rule.name, "a", "b")
    printed = capsys.readouterr()
    assert printed.out.count("destination_access_denied") == 2
    assert printed.err.count("oss:GetObject if replicas are compared") == 1
