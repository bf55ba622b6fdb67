"""The server accepts the Lambda function's signatures: one spelling, one body, once."""

import os
import re
import subprocess
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db.models.functions import Now

from replication.intake import signed_calls
from replication.intake.signatures import MAX_SKEW_SECONDS, SCHEME, Signature, read_signature
from replication.models import LambdaContact, SignedCall
from replication.operations import retention
from tests.support.environment import LAMBDA_KEY, NEXT_LAMBDA_KEY
from tests.support.signed import authorization, lambda_function
from tests.support.threads import at_once

API_DOCUMENT = (settings.BASE_DIR / "docs/reference/api.md").read_text()
BODY = '{"Records":["ключ"]}'.encode()


def a_signature(body: bytes = BODY) -> Signature:
    signature = read_signature(authorization(body).removeprefix(f"{SCHEME} "))
    assert signature
    return signature


def test_the_key_that_signed_a_call_is_found():
    for number, key in enumerate((LAMBDA_KEY, NEXT_LAMBDA_KEY), start=1):
        signature = read_signature(authorization(BODY, key=key).partition(" ")[2])
        assert signature
        assert signature.number_of_key(BODY, [LAMBDA_KEY, NEXT_LAMBDA_KEY]) == number
        assert signature.number_of_key(BODY + b" ", [LAMBDA_KEY, NEXT_LAMBDA_KEY]) is None
        assert signature.number_of_key(BODY, [f"{key}x"]) is None
        assert signature.number_of_key(BODY, []) is None


def test_time_and_nonce_are_signed():
    signature = a_signature()
    for other in (
        Signature(signature.signed_at + 1, signature.nonce, signature.digest),
        Signature(signature.signed_at, "0" * 32, signature.digest),
    ):
        assert other.number_of_key(BODY, [LAMBDA_KEY]) is None


def test_the_shell_example_in_the_api_docs_makes_a_valid_signature():
    lines = re.search(r"```sh\n(now=.*?)\ncurl", API_DOCUMENT, re.DOTALL)
    assert lines
    done = subprocess.run(
        ["bash", "-ceu", f'{lines[1]}\necho "v=1,t=$now,n=$nonce,s=$signature"'],
        env={**os.environ, "KEY": LAMBDA_KEY, "BODY": BODY.decode()},
        capture_output=True,
        check=True,
        text=True,
    )
    signature = read_signature(done.stdout.strip())
    assert signature
    assert signature.number_of_key(BODY, [LAMBDA_KEY]) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=1", "v=2"),
        ("t=", "t=0"),
        ("t=", "t=-"),
        ("t=", "t=٣"),
        (r"t=\d+", "t="),
        (r"t=\d+", "t=999999999999"),
        (",", ", "),
        ("s=.*", lambda found: found[0].upper()),
        ("s=.*", "s="),
        ("n=.", "n="),
        ("$", "\n"),
        ("^", " "),
    ],
)
def test_another_spelling_is_refused(old, new):
    right = authorization(BODY).partition(" ")[2]
    assert read_signature(right)
    assert read_signature(re.sub(old, new, right, count=1)) is None


def test_two_signatures_of_one_body_at_the_same_time_differ():
    now = time.time()
    made = {lambda_function().sign(BODY, key=b"k" * 32, now=now) for _ in range(2)}
    assert len(made) == 2


@pytest.mark.django_db(transaction=True)
def test_a_signature_that_arrives_many_times_at_once_is_accepted_once():
    signature = a_signature()
    taken = at_once(*[lambda: signed_calls.take_once(signature)] * 8)
    assert sorted(taken) == [False] * 7 + [True]
    assert signed_calls.take_once(a_signature())


@pytest.mark.django_db
def test_a_contact_with_lambda_is_noted_once_a_minute_and_not_for_a_replay():
    assert signed_calls.lambda_heard_at() is None
    signature = a_signature()
    signed_calls.take_once(signature)
    first = signed_calls.lambda_heard_at()
    assert first
    LambdaContact.objects.update(heard_at=Now() - timedelta(seconds=55))
    noted = signed_calls.lambda_heard_at()
    signed_calls.take_once(a_signature())
    assert signed_calls.lambda_heard_at() == noted
    LambdaContact.objects.update(heard_at=Now() - timedelta(seconds=61))
    noted = signed_calls.lambda_heard_at()
    signed_calls.take_once(signature)
    assert signed_calls.lambda_heard_at() == noted
    signed_calls.take_once(a_signature())
    assert signed_calls.lambda_heard_at() == first  # now() is constant in this transaction


@pytest.mark.django_db(transaction=True)
def test_a_signature_is_kept_until_it_is_stale_on_every_server(monkeypatch):
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    now = int(time.time())
    for age_seconds in (0, 2 * MAX_SKEW_SECONDS - 60):
        assert signed_calls.take_once(Signature(now - age_seconds, "", bytes([age_seconds % 256])))
    for number in range(5):
        age_seconds = 2 * MAX_SKEW_SECONDS + 1
        assert signed_calls.take_once(Signature(now - age_seconds, "", bytes([number, 0])))
    assert retention.prune(seconds=10).is_complete
    assert SignedCall.objects.count() == 2
