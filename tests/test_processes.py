"""Real qcluster and pollsqs processes, against PostgreSQL, MiniStack and the OSS stand-in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replication.models import EventQueue, Heartbeat, JobState, LoopKind, TransferJob
from tests.conftest import Road
from tests.processes import eventually, manage

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

ODD_KEYS = ["a b+c%.txt", "图片/日本.txt", "a//b", "a/./b", "emoji-😀", "empty", "quote'\"<&>"]


def test_a_cluster_alone_polls_and_copies(road: Road, tmp_path: Path) -> None:
    with manage("qcluster", directory=tmp_path) as cluster:
        for key in ODD_KEYS:
            road.put(key, key.encode() if key != "empty" else b"")
        eventually(
            lambda: TransferJob.objects.filter(state=JobState.COMPLETED).count() == len(ODD_KEYS),
            unless_ended=cluster,
        )
        assert {key: road.replica(key) for key in ODD_KEYS} == {
            key: key.encode() if key != "empty" else b"" for key in ODD_KEYS
        }
        road.put("empty", b"not any more")
        eventually(lambda: road.replica("empty") == b"not any more", unless_ended=cluster)
