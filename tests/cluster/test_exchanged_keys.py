"""While S3SYNC_SECRET_KEY is exchanged host by host, tasks of both keys are run."""

import pickle
from pathlib import Path

import pytest
from django.core import signing
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import PickleSerializer, SignedPackage
from pytest_django import Settings

from replication.cluster.known_tasks import Refusal, checked
from tests.support.processes import eventually, manage

OLD = "an old key that guards nothing at all any more"
STRANGE = "a key that no host has ever had, of a stranger"
TASK = {"id": "a" * 32, "name": "a", "func": "replication.tasks.prune", "args": (), "kwargs": {}}


def signed(key: str, task: object = TASK) -> str:
    return signing.dumps(task, key=key, salt="s3sync", serializer=PickleSerializer)


def test_a_task_of_an_accepted_key_is_signed_anew(settings: Settings) -> None:
    assert isinstance(checked(signed(OLD)), Refusal)
    settings.SECRET_KEY_FALLBACKS = [STRANGE[::-1], OLD]
    payload = checked(signed(OLD))
    assert isinstance(payload, str)
    assert SignedPackage.loads(payload) == TASK, "django-q itself takes it"


def test_a_task_of_another_key_stays_refused(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [OLD]
    refused = checked(signed(STRANGE))
    assert isinstance(refused, Refusal)
    assert "nor with one of its S3SYNC_SECRET_KEY_FALLBACKS" in refused.reason
    unknown = checked(signed(OLD, {**TASK, "func": "os.system"}))
    assert isinstance(unknown, Refusal)
    assert "does not run the function 'os.system'" in unknown.reason
    assert isinstance(checked(pickle.dumps(TASK).hex()), Refusal)


@pytest.mark.django_db(transaction=True)
def test_a_cluster_runs_what_a_host_with_the_old_key_queued(tmp_path: Path) -> None:
    queued = OrmQ.objects.create(key="s3sync", payload=signed(OLD), lock=timezone.now())
    keys = {"S3SYNC_SECRET_KEY_FALLBACKS": OLD, "S3SYNC_POLL_IN_CLUSTER": "false"}
    with manage("qcluster", directory=tmp_path, **keys) as cluster:
        eventually(lambda: not OrmQ.objects.filter(pk=queued.pk).exists(), unless_ended=cluster)
        log = cluster.log.read_text()
    assert "cluster.task_refused" not in log


def test_a_session_of_the_old_key_goes_on(settings: Settings, admin_client: Client) -> None:
    key = settings.SECRET_KEY
    settings.SECRET_KEY = "a new key that guards nothing at all either"
    settings.SECRET_KEY_FALLBACKS = [key]
    assert admin_client.get("/admin/").status_code == 200
