"""From an event in Lambda to an object in OSS, with the real function, web server and cluster."""

import http.client
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from replication.models import SignedCall
from tests.support.environment import LAMBDA_KEY, NEXT_LAMBDA_KEY
from tests.support.paths import DATA
from tests.support.processes import eventually, manage, web_server
from tests.support.road import Road
from tests.support.signed import Context, authorization, lambda_function
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

S3_PUT = (DATA / "s3-put.json").read_text()


# Long enough for the web server to start on a slow machine: s3sync may have accepted a call that
# timed out, and a retry would then make the same jobs again.
PATIENCE_SECONDS = 90


def post(address: str, body: bytes, header: str, *, length: int | None = None) -> SimpleNamespace:
    """Post the body; with `length`, send that Content-Length and no body."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    headers = {"Authorization": header}
    if length is None:
        connection.request("POST", "/api/v1/events", body, headers)
    else:
        headers["Content-Length"] = f"{length}"
        connection.request("POST", "/api/v1/events", headers=headers)
    answer = connection.getresponse()
    content = json.load(answer)
    connection.close()
    return SimpleNamespace(status=answer.status, error=content.get("error", ""))


def test_a_forwarded_event_is_replicated_and_calls_with_bad_signatures_are_refused(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = lambda_function()
    monkeypatch.setenv("S3SYNC_KEY", NEXT_LAMBDA_KEY)
    monkeypatch.setenv("S3SYNC_TIMEOUT_SECONDS", f"{PATIENCE_SECONDS}")
    event = json.loads(S3_PUT.replace("hk-bucket-huachun", road.source.bucket))
    body = json.dumps(event).encode()
    road.put("aa.txt", b"hello\n")
    with (
        manage("qcluster", directory=tmp_path, S3SYNC_POLL_IN_CLUSTER="false") as cluster,
        web_server(processes=2) as address,
    ):
        monkeypatch.setenv("S3SYNC_URL", f"http://{address}")
        forwarded = function.handler(event, Context(seconds=PATIENCE_SECONDS))
        assert forwarded == {"jobs": 1, "unmatched": 0}
        eventually(lambda: road.replica("aa.txt") == b"hello\n", unless_ended=cluster)

        road.put("good.jpg", b"good")
        message = (DATA / "two-records-second-key-has-nul.json").read_text()
        beside_a_bad_one = json.loads(message.replace('"photos"', json.dumps(road.source.bucket)))
        with pytest.raises(function.Refused, match=r"1 of 2 records are refused.*NUL"):
            function.handler(beside_a_bad_one, Context(seconds=PATIENCE_SECONDS))
        eventually(lambda: road.replica("good.jpg") == b"good", unless_ended=cluster)

        header = authorization(body)
        answers = at_once(*[lambda: post(address, body, header)] * 6)  # to both web processes
        assert sorted(answer.status for answer in answers) == [202] + [401] * 5
        assert {answer.error for answer in answers} == {"", "used_signature"}
        for wrong, status, error in (
            (authorization(body, key="z" * 32), 401, "wrong_signature"),
            (authorization(body, seconds_ago=301), 401, "stale_signature"),
        ):
            answer = post(address, body, wrong)
            assert (answer.status, answer.error) == (status, error)
        # Send no body: a client that keeps sending after the refusal may lose the answer.
        answer = post(address, b"", authorization(b"", key=LAMBDA_KEY), length=3_000_000)
        assert (answer.status, answer.error) == (413, "too_large")
    assert SignedCall.objects.count() == 3
    with pytest.raises(function.NotForwarded, match="Lambda retries"):
        function.handler(event, Context(seconds=2.5))
