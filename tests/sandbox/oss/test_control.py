"""The control API, which tests in another process or another language use."""

import itertools
import json
import threading
from typing import Any
from urllib.parse import quote

import oss2
import pytest
import requests

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, KEY_ID, OPEN_BUCKET, SECRET
from tests.sandbox.oss.raw import RawClient


class Control:
    def __init__(self, server: OssServer) -> None:
        self._base = f"{server.endpoint}/-/"

    def __call__(self, method: str, path: str, payload: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, self._base + path, json=payload)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def control(server: OssServer) -> Control:
    return Control(server)


def test_health_names_the_region_and_the_buckets(control: Control) -> None:
    assert control("GET", "health") == {
        "region": "cn-hangzhou",
        "buckets": [BUCKET, OPEN_BUCKET],
    }


def test_faults_are_armed_listed_and_cleared(control: Control, v4_bucket: oss2.Bucket) -> None:
    rule = {"operation": "PutObject", "status": 503, "code": "Busy", "times": 2, "qos_delay_ms": 9}
    fault_id = control("POST", "faults", rule)["id"]
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.put_object("key", b"x")
    assert (refusal.value.code, refusal.value.headers["x-oss-qos-delay-time"]) == ("Busy", "9")
    (armed,) = control("GET", "faults")["faults"]
    assert (armed["id"], armed["left"], armed["operation"]) == (fault_id, 1, "PutObject")
    control("DELETE", "faults")
    assert control("GET", "faults") == {"faults": []}
    v4_bucket.put_object("key", b"x")


def test_a_fault_with_a_malformed_pattern_is_refused(control: Control) -> None:
    refused = control("POST", "faults", {"status": 500, "key_pattern": "("}, status=400)
    assert "key_pattern is no regular expression" in refused["error"]


def test_the_server_can_be_made_lenient_and_strict_again(
    control: Control, v4_bucket: oss2.Bucket
) -> None:
    tagging = {"x-oss-tagging": "k=%C3%B6"}
    control("PUT", "leniency", {"lenient": True})
    v4_bucket.put_object("key", b"x", headers=tagging)
    control("PUT", "leniency", {"lenient": False})
    with pytest.raises(oss2.exceptions.OssError):
        v4_bucket.put_object("key", b"x", headers=tagging)


def test_denials_are_made_listed_and_cleared(control: Control, v4_bucket: oss2.Bucket) -> None:
    control("POST", "denials", {"bucket": BUCKET, "actions": ["oss:PutObject"]})
    assert control("GET", "denials")["denials"][0]["bucket"] == BUCKET
    with pytest.raises(oss2.exceptions.AccessDenied):
        v4_bucket.put_object("key", b"x")
    control("DELETE", "denials")
    v4_bucket.put_object("key", b"x")


def test_secrets_can_be_changed_and_keys_removed(control: Control, bucket: oss2.Bucket) -> None:
    control("PUT", "keys", {"id": KEY_ID, "secret": "changed"})
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        bucket.put_object("key", b"x")
    control("PUT", "keys", {"id": KEY_ID, "secret": SECRET})
    bucket.put_object("key", b"x")
    control("DELETE", "keys", {"id": KEY_ID})
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object("key", b"x")
    assert refusal.value.code == "InvalidAccessKeyId"


def test_the_clock_can_be_set_wrong_and_everything_can_be_reset(
    control: Control, v4_bucket: oss2.Bucket
) -> None:
    v4_bucket.put_object("key", b"x")
    control("PUT", "clock", {"offset_seconds": 3600})
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.put_object("key", b"x")
    assert refusal.value.code == "RequestTimeTooSkewed"
    control("PUT", "buckets", {"name": "one-more", "acl": "private"})
    control("POST", "reset")
    assert not v4_bucket.object_exists("key")
    assert control("GET", "health")["buckets"] == [BUCKET]


def test_objects_are_listed_in_bulk(
    control: Control, server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    keys = sorted([*(f"key-{number}" for number in range(1001)), "ö\n\"'"], key=str.encode)
    stored = {key: v4_bucket.put_object(key, key.encode()) for key in keys}
    answer = requests.get(f"{server.endpoint}/-/objects?bucket={BUCKET}")
    assert [json.loads(line) for line in answer.content.decode().splitlines()] == [
        [BUCKET, key, len(key.encode()), stored[key].crc, stored[key].etag] for key in keys
    ]
    some = requests.get(f"{server.endpoint}/-/objects?prefix={quote('ö')}").content.splitlines()
    assert len(some) == 1
    control("GET", "objects?bucket=absent-bucket", status=404)


def test_requests_are_logged(control: Control, v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"hello")
    v4_bucket.get_object("key").read()
    with pytest.raises(oss2.exceptions.NoSuchKey):
        v4_bucket.get_object("absent")
    put, get, absent = control("GET", f"requests?bucket={BUCKET}")["requests"]
    assert (put["operation"], put["key"], put["key_id"]) == ("PutObject", "key", KEY_ID)
    assert (put["method"], put["status"], put["bytes_in"]) == ("PUT", 200, 5)
    assert (get["bytes_in"], get["bytes_out"]) == (0, 5)
    assert (absent["status"], absent["code"]) == (404, "NoSuchKey")
    assert put["started_monotonic"] <= put["ended_monotonic"] <= get["started_monotonic"]
    only = control("GET", "requests?key=key&operation=GetObject")["requests"]
    assert [entry["request_id"] for entry in only] == [get["request_id"]]
    control("DELETE", "requests")
    assert control("GET", "requests")["requests"] == []


def test_the_log_discards_the_oldest_requests(
    control: Control, server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    control("PUT", "requests", {"size": 2})
    for number in range(5):
        v4_bucket.put_object(str(number), b"")
    log = control("GET", "requests")
    assert [entry["key"] for entry in log["requests"]] == ["3", "4"]
    assert (log["size"], log["dropped"]) == (2, 3)
    small = server.log.size
    control("POST", "reset")
    assert server.log.size > small


def test_writers_that_wait_for_answers_never_overlap_in_the_log(server: OssServer) -> None:
    turn = threading.Lock()

    def write() -> None:
        with RawClient(server.port) as client:
            for _ in range(50):
                with turn:
                    assert client.put("key", b"x").status == 200

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = [(each.started_monotonic, each.ended_monotonic) for each in server.requests(key="key")]
    assert len(spans) == 200
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("method", "path", "payload", "status"),
    [
        ("GET", "nowhere", None, 400),
        ("POST", "faults", {"invalid": 1}, 400),
        ("POST", "faults", {}, 400),
        ("PUT", "keys", {"id": "x"}, 400),
        ("PUT", "buckets", {"name": "Bad_Name"}, 400),
    ],
)
def test_an_invalid_request_is_refused(
    control: Control, method: str, path: str, payload: object, status: int
) -> None:
    assert control(method, path, payload, status=status)["error"]
