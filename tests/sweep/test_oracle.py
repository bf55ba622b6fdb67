"""The report on a large bucket of odd keys equals what was done to it.

SWEEP_KEYS=200000 make test TESTS=tests/sweep/test_oracle.py
"""

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import boto3
import oss2
import pytest
from botocore.exceptions import ClientError
from django.core.management import call_command

from benchmarks.stand_ins import Neutral
from replication.intake.matching import look_again
from replication.models import EventQueue, Source
from replication.sweep import causes
from sandbox.aws import AwsServer
from tests.fidelity import keys as samples
from tests.support.road import Road, work

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600 if "SWEEP_KEYS" in os.environ else 180),
]

KEYS = int(os.environ.get("SWEEP_KEYS", "400"))
CHANGED_SHARE = 0.01 if KEYS > 10_000 else 0.3
CHANGES = ("missing", "longer", "shorter", "altered", "extra")
# Pieces that sort differently by bytes, by UTF-16 and by alphabet, and that encodings spoil.
PIECES = sorted(
    {*samples._POSSIBLE.values(), "\U0001f600", "\ue000", "\ufffd", "a ", "é", "e\u0301", "中/文"}
)
REFUSED = (
    "control\x01/{}",
    "escape\x1b{}",
    "carriage\r{}",
    "no character\uffff{}",
    "{}" + "x" * 1019,
)


@pytest.fixture(params=["aws", "moto", "neutral"])
def put(
    request: pytest.FixtureRequest,
    make_road: Callable[..., Road],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Road, Callable[[str, bytes], bool], Callable[[str], object]]]:
    """A rule whose source is one of three servers, and functions that put and remove an object."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    road = make_road(
        source_prefix="p/",
        strip_source_prefix=True,
        destination_prefix="到 /",
        key_policy="rewrite",
        delete_policy="mirror",
    )
    EventQueue.objects.update(enabled=False)  # only the comparison tells of changes
    with _server(request) as (endpoint_url, client):
        Source.objects.filter(pk=road.source.pk).update(endpoint_url=endpoint_url)
        road.rule.refresh_from_db()
        if request.param != "aws":
            client.create_bucket(Bucket=road.source.bucket)

        def put(key: str, body: bytes) -> bool:
            try:
                client.put_object(Bucket=road.source.bucket, Key=key, Body=body)
            except ClientError:  # each implementation refuses other keys
                return False
            return True

        def remove(key: str) -> None:
            client.delete_object(Bucket=road.source.bucket, Key=key)

        yield road, put, remove


@contextmanager
def _server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    if request.param == "neutral":
        aws: AwsServer = request.getfixturevalue("aws")
        with Neutral() as neutral:
            yield (
                neutral.url,
                boto3.client(
                    "s3",
                    endpoint_url=neutral.url,
                    aws_access_key_id=aws.access_key_id,
                    aws_secret_access_key=aws.secret_access_key,
                    region_name=aws.region,
                ),
            )
    else:
        server: AwsServer = request.getfixturevalue(request.param)
        yield server.endpoint_url, server.client("s3")


def test_the_report_equals_what_was_done(
    put: tuple[Road, Callable[[str, bytes], bool], Callable[[str], object]],
) -> None:
    road, put_object, remove_object = put
    chance = random.Random(15)
    expected: dict[str, str] = {}
    equal = 0

    def prepare(number: int, kind: str, key: str) -> tuple[str, str] | None:
        """Put the two sides of a key; its verdict, or None if this server does not take it."""
        body = f"{number} {key}".encode("utf-8", "replace")
        if not put_object(key, body):
            return None
        if kind == "extra":
            remove_object(key)
        replica = {"longer": body + b"!", "shorter": body[:-1], "altered": body[::-1]}
        if kind != "missing":
            road.replicas.put_object(road.rule.destination_key(key), replica.get(kind, body))
        verdict = kind if kind in {"equal", "missing", "extra"} else "different"
        return key, verdict

    plans = []
    for number in range(KEYS):
        piece = chance.choice(PIECES)
        key = "p/" + chance.choice([f"{number:06d}{piece}", f"x{piece}{number}", f"d/{number} "])
        kind = chance.choice(CHANGES) if chance.random() < CHANGED_SHARE else "equal"
        plans.append((number, kind, key))
    with ThreadPoolExecutor(8) as pool:
        for done in pool.map(lambda plan: prepare(*plan), plans):
            if done is None:
                continue
            key, verdict = done
            equal += verdict == "equal"
            if verdict != "equal":
                expected[key] = verdict

    # Keys that the rule rewrites: copied by lanes, then some replicas are taken away.
    rewritten = [
        key
        for number, form in enumerate(REFUSED * 4)
        if put_object(key := "p/" + form.format(number), f"{number}".encode())
    ]
    look_again(road.rule, rewritten)
    work()
    marked = [one.key for one in _replicas(road) if ".s3sync-key/" in one.key]
    assert len(marked) == len(set(rewritten)) > 5
    for place in marked[::3]:
        road.replicas.delete_object(place)
    equal += len(marked) - len(marked[::3])

    report = _reconcile(road)
    found = {one["key"]: one["verdict"] for one in report["findings"] if one["state"] != "gone"}
    lost = {key for key in rewritten if key in found}
    assert len(lost) == len(marked[::3])
    assert {found.pop(key) for key in lost} == {"missing"}
    assert found == expected
    assert report["counts"]["equal"] == equal
    assert set(expected.values()) == {"missing", "different", "extra"}


def _replicas(road: Road) -> Iterator[Any]:
    return oss2.ObjectIteratorV2(road.replicas, prefix=road.rule.destination_prefix)


def _reconcile(road: Road) -> dict[str, Any]:
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", road.rule.name, "--json", "--settle=0", stdout=out)
    assert ended.value.code == 1
    report: dict[str, Any] = json.loads(out.getvalue())
    return report
