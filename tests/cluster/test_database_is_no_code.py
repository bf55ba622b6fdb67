"""Whoever can write to the database can't choose what code runs."""

import os
import pickle
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.serializers import JSONSerializer
from django.core import signing
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django_q.models import Failure, OrmQ, Task
from django_q.signing import PickleSerializer
from django_q.tasks import async_task
from picklefield.fields import PickledObjectField
from pytest_django import Settings

from replication.models import Heartbeat, LoopKind
from sandbox.child import Child
from tests.support.processes import eventually, manage

pytestmark = pytest.mark.django_db(transaction=True)


class Trap:
    """Makes a directory when its pickle is loaded."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.directory),)


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """The directory in which each sprung trap leaves its name."""
    directory = tmp_path / "sprung"
    directory.mkdir()
    return directory


def sprung(traps: Path) -> set[str]:
    return {trap.name for trap in traps.iterdir()}


def forged(trap: Path) -> str:
    """A payload that is signed in django-q's way, with another key than ours."""
    key = "a secret that no host of the service has"
    return signing.dumps(Trap(trap), key=key, salt="s3sync", serializer=PickleSerializer)


def pickled(trap: Path) -> str:
    return b64encode(pickle.dumps(Trap(trap))).decode()


def write_schedule(trap: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_q_schedule (func, args, schedule_type, repeats, next_run)"
            " VALUES ('os.mkdir', %s, 'O', -1, now() - interval '1 day')",
            [repr(str(trap))],
        )


def write_to_queue(payload: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_q_ormq (key, payload, lock)"
            " VALUES ('s3sync', %s, now() - interval '1 second')",
            [payload],
        )


def write_result(trap: Path, *, id: str = "", name: str = "a", hook: str = "os.system") -> None:
    """Write a failure into django-q's table of results; all its pickles are the trap."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_q_task (id, name, func, hook, args, kwargs, result, started,"
            " stopped, success, attempt_count)"
            " VALUES (%(id)s, %(name)s, 'a', %(hook)s, %(trap)s, %(trap)s, %(trap)s,"
            " now(), now(), false, 0)",
            {"id": id or uuid4().hex, "name": name, "hook": hook, "trap": pickled(trap)},
        )


@contextmanager
def cluster(directory: Path) -> Iterator[Child]:
    """A cluster whose sentinel would run the scheduler at once."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.support.guarding_once",
        "S3SYNC_POLL_IN_CLUSTER": "false",
        "S3SYNC_LANE_SECONDS": "2",
    }
    with manage("qcluster", directory=directory, **environment) as child:
        yield child
        os.killpg(child.pid, signal.SIGKILL)  # the sentinel would notice a stop after 30 s


def await_two_generations_of_lanes(cluster: Child) -> None:
    """Whatever was queued before is taken by then."""
    lanes = Heartbeat.objects.filter(kind=LoopKind.LANE, started_at__isnull=False)
    seen = set(lanes.values_list("pk", flat=True))
    for _ in range(2):
        seen |= eventually(
            lambda: set(lanes.values_list("pk", flat=True)) - seen,  # noqa: B023
            unless_ended=cluster,
        )


def test_a_cluster_runs_nothing_that_the_database_names(tmp_path: Path, traps: Path) -> None:
    write_schedule(traps / "schedule")
    write_to_queue(forged(traps / "forged task"))
    write_to_queue(pickled(traps / "unsigned task"))
    async_task("os.mkdir", str(traps / "signed task of another function"))
    async_task(os.mkdir, str(traps / "signed function"))
    bad = set(OrmQ.objects.values_list("pk", flat=True))
    with cluster(tmp_path) as child:
        await_two_generations_of_lanes(child)
        assert not OrmQ.objects.filter(pk__in=bad).exists()
        log = child.log.read_text()
    assert sprung(traps) == set()
    assert log.count("cluster.task_refused") == len(bad)
    assert "it is not signed with this host's S3SYNC_SECRET_KEY" in log
    assert "a cluster does not run the function 'os.mkdir'" in log


def test_a_cluster_reads_no_result_and_calls_no_hook(tmp_path: Path, traps: Path) -> None:
    """django-q's monitor reads what is stored under the id of a task that it is to record."""
    failing = async_task("replication.tasks.run_lane")  # an argument is missing
    write_result(traps / "result", id=failing, name=OrmQ.objects.get().task["name"])
    with cluster(tmp_path) as child:
        eventually(
            lambda: "missing 1 required positional argument" in child.log.read_text(),
            unless_ended=child,
        )
        await_two_generations_of_lanes(child)
    assert sprung(traps) == set()


def test_nothing_starts_with_the_scheduler_of_django_q(settings: Settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "scheduler": True}
    with pytest.raises(SystemCheckError, match="'scheduler'] is True and must be False"):
        call_command("check")


def test_the_admin_shows_nothing_of_django_q(admin_client: Client, traps: Path) -> None:
    write_result(traps / "result", id="a" * 32)
    write_to_queue(forged(traps / "task"))
    for model in ("task", "success", "failure", "ormq", "schedule"):
        with pytest.raises(NoReverseMatch):
            reverse(f"admin:django_q_{model}_changelist")
        assert admin_client.get(f"/admin/django_q/{model}/").status_code == 404
        assert admin_client.get(f"/admin/django_q/{model}/{'a' * 32}/change/").status_code == 404
    for page in ("admin:index", "admin:replication_clustertask_changelist", "status"):
        assert admin_client.get(reverse(page)).status_code == 200
    assert sprung(traps) == set()


def test_whatever_reads_a_result_gets_its_text(traps: Path) -> None:
    write_result(traps / "result")
    assert Task.objects.get().result == pickled(traps / "result")
    assert list(Failure.objects.values_list("args", "kwargs")) == [(pickled(traps / "result"),) * 2]
    out = StringIO()
    call_command("dumpdata", "django_q", stdout=out)
    assert "os.system" in out.getvalue()
    call_command("qinfo", stdout=out)
    assert sprung(traps) == set()


def test_nothing_else_keeps_pickles_in_the_database() -> None:
    """Django's cache in the database, for one, would load them unsigned."""
    pickles = {
        model
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, PickledObjectField)
    }
    assert pickles == {Task}
    assert not any(isinstance(cache, DatabaseCache) for cache in caches.all(initialized_only=False))
    assert SessionBase().serializer is JSONSerializer
