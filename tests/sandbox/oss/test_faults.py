"""Injected faults, and denials."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import oss2
import pytest
import requests

from sandbox.oss import Denial, Fault, OssServer
from tests.sandbox.oss import BUCKET, KEY_ID
from tests.support.processes import eventually

When = Literal["before", "after"]


def test_a_throttled_answer_carries_its_delay(server: OssServer, bucket: oss2.Bucket) -> None:
    fault_id = server.add_fault(
        Fault(operation="PutObject", status=503, code="TotalQpsLimitExceeded", qos_delay_ms=150)
    )
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object("key", b"x")
    assert (refusal.value.status, refusal.value.code) == (503, "TotalQpsLimitExceeded")
    assert refusal.value.headers["x-oss-qos-delay-time"] == "150"
    assert server.requests()[-1].fault == fault_id
    assert not bucket.object_exists("key")
    bucket.put_object("key", b"x")


def test_an_error_after_the_write_leaves_it_written(
    server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    server.add_fault(Fault(method="PUT", status=500, when="after"))
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.put_object("key", b"x")
    assert refusal.value.status == 500
    assert v4_bucket.get_object("key").read() == b"x"


@pytest.mark.parametrize(("when", "is_written"), [("before", False), ("after", True)])
def test_a_reset_comes_before_or_after_the_write(
    server: OssServer, v4_bucket: oss2.Bucket, when: When, is_written: bool
) -> None:
    server.add_fault(Fault(operation="PutObject", reset=True, when=when))
    with pytest.raises(oss2.exceptions.RequestError):
        v4_bucket.put_object("key", b"x")
    assert v4_bucket.object_exists("key") is is_written
    logged = server.requests(operation="PutObject")[-1]
    assert (logged.status, logged.code) == (0, "ConnectionReset")


@pytest.mark.parametrize("body", [b"0123456789", b"x" * 400_000])
def test_a_fault_truncates_a_body(server: OssServer, v4_bucket: oss2.Bucket, body: bytes) -> None:
    v4_bucket.put_object("key", body)
    server.add_fault(Fault(operation="GetObject", truncate_bytes=4))
    got = v4_bucket.get_object("key")
    assert got.content_length == len(body)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        got.read()
    assert v4_bucket.get_object("key").read() == body


def test_a_fault_delays_an_answer(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    server.add_fault(Fault(operation="PutObject", delay_seconds=0.1))
    started = time.monotonic()
    v4_bucket.put_object("key", b"x")
    assert time.monotonic() - started >= 0.1
    logged = server.requests()[-1]
    assert logged.ended_monotonic - logged.started_monotonic >= 0.1


def test_an_answer_is_held_until_the_faults_are_cleared(
    server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    server.add_fault(Fault(operation="PutObject", hold=True))
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(v4_bucket.put_object, "key", b"x")
        eventually(lambda: server.held_requests == 1)
        assert not v4_bucket.object_exists("key")
        server.clear_faults()
        put.result()
    assert server.held_requests == 0
    assert v4_bucket.object_exists("key")


def test_a_fault_slows_bodies_in_both_directions(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    for operation in ("PutObject", "GetObject"):
        server.add_fault(Fault(operation=operation, bytes_per_second=1_000_000))
    for attempt in (
        lambda: v4_bucket.put_object("key", b"x" * 100_000),
        lambda: v4_bucket.get_object("key").read(),
    ):
        started = time.monotonic()
        attempt()
        assert time.monotonic() - started >= 0.09


def test_a_fault_returns_a_wrong_checksum(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    right = v4_bucket.put_object("key", b"x").crc
    server.add_fault(Fault(wrong_crc=True, times=2))
    assert v4_bucket.put_object("key", b"x").crc != right
    assert v4_bucket.head_object("key").headers["x-oss-hash-crc64ecma"] != str(right)
    assert v4_bucket.head_object("key").headers["x-oss-hash-crc64ecma"] == str(right)


def failures(bucket: oss2.Bucket, keys: list[str]) -> list[str]:
    failed = []
    for key in keys:
        try:
            bucket.put_object(key, b"x")
        except oss2.exceptions.OssError:
            failed.append(key)
    return failed


@pytest.mark.parametrize(
    ("match", "failed"),
    [
        ({"times": 2}, ["a/1", "a/2"]),
        ({"skip": 1, "times": 1}, ["a/2"]),
        ({"times": None}, ["a/1", "a/2", "b/1"]),
        ({"key_prefix": "b/"}, ["b/1"]),
        ({"key_pattern": "1$", "times": None}, ["a/1", "b/1"]),
        ({"method": "GET"}, []),
        ({"bucket": "other"}, []),
        ({"bucket": BUCKET, "times": 1}, ["a/1"]),
        ({"probability": 0.0, "times": None}, []),
    ],
)
def test_a_fault_fires_for_matching_requests_only(
    server: OssServer, v4_bucket: oss2.Bucket, match: dict[str, Any], failed: list[str]
) -> None:
    server.add_fault(Fault(status=500, **match))
    assert failures(v4_bucket, ["a/1", "a/2", "b/1"]) == failed
    server.clear_faults()
    assert failures(v4_bucket, ["a/1"]) == []


def test_a_seed_makes_probability_repeatable(server: OssServer, v4_bucket: oss2.Bucket) -> None:
    keys = [str(number) for number in range(20)]
    runs = []
    for _ in range(2):
        server.clear_faults()
        server.add_fault(Fault(status=500, times=None, probability=0.5, seed=7))
        runs.append(failures(v4_bucket, keys))
    assert runs[0] == runs[1]
    assert 0 < len(runs[0]) < len(keys)


@pytest.mark.parametrize(
    "invalid", [{}, {"status": 500, "when": "never"}, {"status": 500, "key_pattern": "("}]
)
def test_an_invalid_fault_is_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"effect|when|unterminated"):
        Fault(**invalid)


def test_a_denial_applies_to_its_key_bucket_and_action(
    server: OssServer, bucket: oss2.Bucket
) -> None:
    bucket.put_object("key", b"x")
    server.deny(Denial(key_id=KEY_ID, bucket=BUCKET, actions=("oss:PutObject",)))
    for attempt in (
        lambda: bucket.put_object("key", b"y"),
        lambda: bucket.init_multipart_upload("key"),
        lambda: bucket.copy_object(BUCKET, "key", "copy"),
    ):
        with pytest.raises(oss2.exceptions.AccessDenied) as refusal:
            attempt()
        assert refusal.value.details["AuthAction"] == "oss:PutObject"
    assert bucket.get_object("key").read() == b"x"
    bucket.delete_object("key")
    server.clear_denials()
    bucket.put_object("key", b"y")


def test_tags_in_a_header_need_the_permission_to_tag(
    server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    server.deny(Denial(actions=("oss:PutObjectTagging",)))
    v4_bucket.put_object("key", b"x")
    with pytest.raises(oss2.exceptions.AccessDenied):
        v4_bucket.put_object("key", b"x", headers={"x-oss-tagging": "a=1"})


@pytest.mark.parametrize(
    "denial",
    [
        Denial(key_id="someone else"),
        Denial(bucket="other-bucket"),
        Denial(key_prefix="secret/"),
        Denial(actions=("oss:GetObject", "oss:DeleteObject")),
    ],
)
def test_a_denial_does_not_apply_to_other_requests(
    server: OssServer, v4_bucket: oss2.Bucket, denial: Denial
) -> None:
    server.deny(denial)
    assert v4_bucket.put_object("key", b"x").status == 200
