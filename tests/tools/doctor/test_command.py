"""What the command prints for people and for machines, and its exit status."""

import io
import os
import subprocess
import sys

import pytest
from django.core.management import call_command
from pytest_django import Settings

from replication.jobs import PRIORITY_EVENT, JobOrder, enqueue
from replication.models import JobOrigin, ReplicationRule
from tests.support.processes import REPOSITORY
from tests.tools.doctor.conftest import Green, doctor


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with pytest.raises(SystemExit) as leaving:
        call_command("doctor", *arguments, stdout=out)
    assert leaving.value.code == 1
    return out.getvalue()


def test_the_table_shows_subject_check_and_fix_without_escape_sequences(green: Green) -> None:
    green.put("\x1b[2Jred")
    green.change(green.destination, bucket="not-to-be-found")
    output = printed()
    lines = output.splitlines()
    subject = lines.index("rule photos: destination photos-oss")
    assert lines[subject + 1].startswith("  FAIL destination.write ")
    assert (
        lines[subject + 2].lstrip().startswith("→ Create the bucket, or correct the destination's")
    )
    assert lines[-1].endswith(" passed, 1 failed")
    assert "\x1b" not in output


def announce(green: Green, origin: JobOrigin) -> None:
    enqueue([JobOrder(green.rule.pk, "a.txt")], origin=origin, priority=PRIORITY_EVENT)


def test_what_the_service_may_not_read_is_unknown_unless_an_administrator_is_named(
    green: Green,
) -> None:
    green.works_as_user_without()
    report = doctor()
    assert report.status == 0
    assert {(each["level"], each["check"]) for each in report.bad} == {
        ("unknown", "queue.attributes"),
        ("unknown", "notification"),
    }
    assert all("--profile" in each["fix"] for each in report.bad)
    assert "no event of the rule arrived lately" in report.of("notification")[0]
    announce(green, JobOrigin.EVENT)
    assert "the last event of the rule arrived 0 s ago" in doctor().of("notification")[0]
    assert doctor("--profile", "default").bad == []


def test_events_that_a_function_posts_count_as_delivered(green: Green) -> None:
    green.s3.put_bucket_notification_configuration(
        Bucket=green.source.bucket, NotificationConfiguration={}
    )
    announce(green, JobOrigin.API)
    report = doctor()
    assert report.bad == []
    assert "an event of the rule was posted 0 s ago" in report.of("api")[0]


def test_only_the_named_rule_is_checked(green: Green) -> None:
    green.rule.pk, green.rule.name, green.rule.enabled = None, "films", False
    green.rule.save(force_insert=True)
    rules = {each["rule"] for each in doctor("--rule", "films").findings}
    assert rules == {None, "films"}
    report = doctor("--rule", "none")
    assert report.status == 2
    assert "there are: films, photos" in report.findings[0]["found"]


def test_a_wrong_setting_that_the_engine_relies_on_is_reported(
    green: Green, settings: Settings
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "bulk": 5}
    (found,) = doctor().bad
    assert found["check"] == "settings"
    assert "Q_CLUSTER['bulk'] is 5 and must be 1" in found["found"]


def run_in_environment(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", "doctor"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_doctor_ends_with_the_cause_without_a_database_or_usable_settings() -> None:
    unreachable = "postgresql://s3sync:hidden@127.0.0.1:9/s3sync"
    done = run_in_environment(DATABASE_URL=unreachable)
    assert done.returncode == 1
    assert "FAIL database" in done.stdout
    assert "s3sync@127.0.0.1:9/s3sync can't be reached" in done.stdout
    assert "correct DATABASE_URL" in done.stdout
    done = run_in_environment(DATABASE_URL=unreachable, S3SYNC_LANES="none")
    assert done.returncode == 1
    assert "S3SYNC_LANES" in done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_a_rule_that_collides_is_named_with_the_other_one(green: Green) -> None:
    ReplicationRule.objects.create(
        name="more",
        source=green.source,
        destination=green.destination,
        destination_prefix="more/",
    )
    report = doctor("--rule", "photos")
    assert report.status == 0
    [found] = report.bad
    assert (found["level"], found["check"]) == ("warn", "status")
    assert "Rules photos and more can write the same keys of the bucket replica" in found["found"]
    assert found["fix"] == "Edit one of the rules in the admin or in the rules file."
