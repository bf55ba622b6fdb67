"""Signed calls to POST /api/v1/events: which are refused, in which order, and with which error."""

import json
import logging

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from replication.api.event_bodies import MAX_BODY_BYTES
from replication.intake.signatures import MAX_SKEW_SECONDS, SCHEME
from replication.models import ApiToken, Job, SignedCall
from tests.support.environment import LAMBDA_KEY, NEXT_LAMBDA_KEY
from tests.support.examples import a_rule
from tests.support.signed import authorization, s3_event

URL = "/api/v1/events"
BODY = json.dumps(s3_event("a+b.jpg")).encode()

pytestmark = pytest.mark.django_db


def post(header: str, body: bytes = BODY):
    caller = Client(enforce_csrf_checks=True, headers={"Authorization": header})
    return caller.post(URL, body, content_type="application/json")


def refusal(answer) -> str:
    """The error of a 401, which must reveal nothing about the keys."""
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, SCHEME)
    content = answer.content.decode()
    assert LAMBDA_KEY not in content
    assert NEXT_LAMBDA_KEY not in content
    error: str = answer.json()["error"]
    return error


@pytest.mark.parametrize("key", [LAMBDA_KEY, NEXT_LAMBDA_KEY])
def test_a_call_signed_with_either_key_is_accepted_once(key, logged):
    a_rule()
    header = authorization(BODY, key=key)
    assert post(header).status_code == 202
    assert Job.objects.get().key == "a b.jpg"
    number = [LAMBDA_KEY, NEXT_LAMBDA_KEY].index(key) + 1
    assert f"S3SYNC_LAMBDA_KEYS #{number}" in logged.text
    assert refusal(post(header)) == "used_signature"
    assert post(authorization(BODY, key=key)).status_code == 202  # a retry has a new signature


def test_a_removed_key_is_refused_at_once(limits):
    limits(lambda_keys=[NEXT_LAMBDA_KEY])
    assert refusal(post(authorization(BODY))) == "wrong_signature"
    limits(lambda_keys=[])
    answers = [post(authorization(BODY)), post(authorization(BODY, key="z" * 32))]
    assert {refusal(answer) for answer in answers} == {"wrong_signature"}
    assert answers[0].content == answers[1].content
    assert not SignedCall.objects.exists()


@pytest.mark.parametrize("seconds_ago", [MAX_SKEW_SECONDS + 2, -MAX_SKEW_SECONDS - 2])
def test_a_stale_call_is_refused_with_the_difference_of_the_clocks(seconds_ago):
    answer = post(authorization(BODY, seconds_ago=seconds_ago))
    assert refusal(answer) == "stale_signature"
    direction = "behind" if seconds_ago > 0 else "ahead of"
    assert f" s {direction} this server's clock" in answer.json()["detail"]
    assert post(authorization(BODY, seconds_ago=seconds_ago * 0.98)).status_code == 202


def stale(body: bytes) -> str:
    """A header with a wrong key and an old time."""
    return authorization(body, key="z" * 32, seconds_ago=1000)


def test_a_wrong_call_is_refused_without_a_database_query():
    too_large = b" " * (MAX_BODY_BYTES + 1)
    with CaptureQueriesContext(connection) as queries:
        assert post(stale(too_large), too_large).status_code == 413
        assert refusal(post(stale(BODY))) == "stale_signature"
        assert refusal(post(authorization(BODY, key="z" * 32))) == "wrong_signature"
        assert refusal(post(authorization(BODY), BODY + b" ")) == "wrong_signature"
        for header in (SCHEME, f"{SCHEME} x", f"{authorization(BODY)},x=1"):
            assert refusal(post(header)) == "malformed_signature"
    assert not queries.captured_queries


def test_neither_keys_nor_signatures_are_logged(caplog, logged):
    header = authorization(BODY)
    with caplog.at_level(logging.DEBUG):
        for used in (header, header, authorization(BODY, key="z" * 32)):
            post(used)
    assert "used_signature" in logged.text
    assert "wrong_signature" in logged.text
    for text in (logged.text, caplog.text):
        assert LAMBDA_KEY not in text
        assert header[-64:] not in text


def test_a_signed_call_may_send_events_and_nothing_else():
    caller = Client(headers={"Authorization": authorization(b"")})
    assert caller.get("/api/v1/status").status_code == 401
    assert caller.post("/api/v1/rules/photos/pause").status_code == 401
    assert caller.get("/metrics").status_code == 401


def test_a_key_has_the_same_call_limit_as_a_token(limits):
    limits(api_event_calls_per_second=0.5)
    answers = [post(authorization(BODY, key=NEXT_LAMBDA_KEY)).status_code for _ in range(2)]
    assert answers == [202, 429]


def test_the_status_says_when_lambda_last_called(caller: Client, operator_client: Client):
    assert caller.get("/api/v1/status").json()["lambda_heard_at"] is None
    assert "Lambda" not in operator_client.get("/status/").content.decode()
    post(authorization(BODY))
    assert caller.get("/api/v1/status").json()["lambda_heard_at"].endswith("Z")
    page = operator_client.get("/status/").content.decode()
    assert "The last call from the Lambda function came" in page
    assert not ApiToken.objects.exists()


def test_tokens_still_work_while_no_key_is_set(caller: Client, settings: Settings, limits):
    limits(lambda_keys=[])
    assert caller.post(URL, BODY, content_type="application/json").status_code == 202
