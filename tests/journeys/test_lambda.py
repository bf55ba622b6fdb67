"""From an event in Lambda to an object in OSS: the real function, web server and cluster."""

import http.client
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from replication.models import SignedCall
from tests.support.environment import LAMBDA_KEY, NEXT_LAMBDA_KEY
from tests.support.paths import DATA
from tests.support.processes import eventually, gunicorn, manage
from tests.support.road import Road
from tests.support.signed import Context, authorization, the_function
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

S3_PUT = (DATA / "s3-put.json").read_text()


def post(address: str, body: bytes, header: str) -> SimpleNamespace:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/api/v1/events", body, {"Authorization": header})
    answer = connection.getresponse()
    content = json.load(answer)
    connection.close()
    return SimpleNamespace(status=answer.status, error=content.get("error", ""))


def test_what_the_function_forwards_arrives_and_what_it_did_not_sign_is_refused(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = the_function()
    monkeypatch.setenv("S3SYNC_KEY", NEXT_LAMBDA_KEY)
    event = json.loads(S3_PUT.replace("hk-bucket-huachun", road.source.bucket))
    body = json.dumps(event).encode()
    road.put("aa.txt", b"hello\n")
    with (
        manage("qcluster", directory=tmp_path, S3SYNC_POLL_IN_CLUSTER="false") as cluster,
        gunicorn(workers=2) as address,
    ):
        monkeypatch.setenv("S3SYNC_URL", f"http://{address}")
        assert function.handler(event, Context()) == {"jobs": 1, "unmatched": 0}
        eventually(lambda: road.replica("aa.txt") == b"hello\n", unless_ended=cluster)

        header = authorization(body)
        answers = at_once(*[lambda: post(address, body, header)] * 6)  # to whichever web process
        assert sorted(answer.status for answer in answers) == [202] + [401] * 5
        assert {answer.error for answer in answers} == {"", "used_signature"}
        for wrong, status, error in (
            (authorization(body, key="z" * 32), 401, "wrong_signature"),
            (authorization(body, seconds_ago=301), 401, "stale_signature"),
        ):
            answer = post(address, body, wrong)
            assert (answer.status, answer.error) == (status, error)
        large = b" " * 3_000_000
        answer = post(address, large, authorization(large, key=LAMBDA_KEY))
        assert (answer.status, answer.error) == (413, "too_large")
    assert SignedCall.objects.count() == 2
    with pytest.raises(function.NotForwarded, match="Lambda takes it from here"):
        function.handler(event, Context(seconds=2.5))
