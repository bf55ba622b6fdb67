"""The Lambda function, over HTTP: against the product, and against a scripted server that fails."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

import cfnlint
import pytest

from replication.api.event_bodies import MAX_BODY_BYTES
from replication.api.events import MAX_EVENTS
from replication.intake.messages import take_messages
from replication.intake.signatures import SCHEME, read_signature
from replication.intake.sqs import Message
from replication.models import DeadLetter, EventQueue, Job
from s3sync.environment import MIN_LAMBDA_KEY_LENGTH
from tests.support.environment import LAMBDA_KEY
from tests.support.examples import a_rule
from tests.support.paths import DATA
from tests.support.signed import HANDLER, Context, lambda_function, s3_event

LAMBDA = HANDLER.parent
Answer = tuple[int, object, dict[str, str]]

ACCEPTED: Answer = (202, {"job_ids": [1], "unmatched": 0}, {})


def sns_event(*messages: dict) -> dict:
    """The event that SNS invokes a function with."""
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "Sns": {"Type": "Notification", "Message": json.dumps(message)},
            }
            for message in messages
        ]
    }


EVENTBRIDGE_EVENT = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "photos-bucket"}, "object": {"key": "a b+c.jpg"}},
}
EVENTS = {
    "s3": s3_event("a+b%2Bc.jpg"),
    "sns": sns_event(s3_event("a+b%2Bc.jpg")),
    "eventbridge": EVENTBRIDGE_EVENT,
    "list": [s3_event("a+b%2Bc.jpg")],  # as a pipe invokes a function
    "list of sns": [sns_event(s3_event("a+b%2Bc.jpg"))],
}
SQS_RECORD = {
    "messageId": "m",
    "body": json.dumps(s3_event("a")),
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:photos",
}


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("S3SYNC_KEY", f"{LAMBDA_KEY}\n")  # secret stores may append a newline
    module = lambda_function()
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    return module


class ScriptedServer(ThreadingHTTPServer):
    """Answers each request with the next of its answers: (status, JSON, headers).

    For None it closes the connection.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer | None] = []
        self.bodies: list[object] = []
        self.signatures: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        signature = read_signature(self.headers["Authorization"].partition(" ")[2])
        assert signature
        assert signature.number_of_key(body, [LAMBDA_KEY]) == 1
        self.server.signatures.append(signature.nonce)
        answer = self.server.answers.pop(0)
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, content, headers = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        monkeypatch.setenv("S3SYNC_URL", scripted.url)
        thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


# -- against the product -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shape", EVENTS)
@pytest.mark.parametrize("domain", ["", "files.example.com"])
def test_an_event_becomes_a_job(function, live_server, monkeypatch, shape, domain):
    a_rule(domain="files.example.com")
    monkeypatch.setenv("S3SYNC_URL", live_server.url + "/")
    monkeypatch.setenv("S3SYNC_DOMAIN", domain)
    assert function.handler(EVENTS[shape], Context()) == {"jobs": 1, "unmatched": 0}
    assert Job.objects.get().key == "a b+c.jpg"


@pytest.mark.django_db(transaction=True)
def test_sns_messages_of_different_kinds_are_all_forwarded(function, live_server, monkeypatch):
    a_rule()
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    event = sns_event(s3_event("a"), EVENTBRIDGE_EVENT, {"Event": "s3:TestEvent"}, s3_event("b"))
    assert function.handler(event, Context()) == {"jobs": 3, "unmatched": 0}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("domain", ["", "files.example.com"])
def test_the_test_message_of_s3_makes_no_job(function, live_server, monkeypatch, domain):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_DOMAIN", domain)
    answer = function.handler({"Event": "s3:TestEvent", "Bucket": "b"}, Context())
    assert answer == {"jobs": 0, "unmatched": 0}


@pytest.mark.django_db(transaction=True)
def test_a_wrong_key_is_refused_at_once_with_a_hint(function, live_server, monkeypatch):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_KEY", "wrong" * 10)
    with pytest.raises(function.Refused, match=r"401.*wrong_signature.*S3SYNC_LAMBDA_KEYS") as r:
        function.handler(EVENTS["s3"], Context())
    assert "wrongwrong" not in str(r.value)


@pytest.mark.django_db(transaction=True)
def test_a_wrong_clock_is_reported(function, live_server, monkeypatch):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    slow = SimpleNamespace(time=lambda: time.time() - 400, monotonic=time.monotonic)
    monkeypatch.setattr(function, "time", slow)
    with pytest.raises(
        function.Refused, match=r"401.*stale_signature.* s behind this server's clock"
    ):
        function.handler(EVENTS["s3"], Context())


@pytest.mark.django_db(transaction=True)
def test_an_unknown_domain_is_refused_at_once_with_the_reason(function, live_server, monkeypatch):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_DOMAIN", "unknown.example.com")
    with pytest.raises(function.Refused, match=r"record 0: no enabled .*unknown\.example\.com"):
        function.handler(EVENTS["s3"], Context())


# -- records beside a refused one --------------------------------------------------------------


@pytest.fixture(params=["", "files.example.com"], ids=["buckets", "a domain"])
def served(request, live_server, monkeypatch):
    """The product takes calls; the function sends raw events, or domains with keys."""
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_DOMAIN", request.param)


def refusals_printed(capsys: pytest.CaptureFixture[str]) -> list[list[int]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line["records"] for line in lines if line["event"] == "records_refused"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wrapped", [False, True], ids=["s3", "sns"])
@pytest.mark.usefixtures("served")
def test_the_message_of_a_report_from_the_field_loses_no_good_record(function, capsys, wrapped):
    a_rule(bucket="photos", domain="files.example.com")
    message = json.loads((DATA / "two-records-second-key-has-nul.json").read_text())
    with pytest.raises(function.Refused, match=r"1 of 2 records are refused.* NUL character"):
        function.handler(sns_event(message) if wrapped else message, Context())
    assert Job.objects.get().key == "good.jpg"
    assert refusals_printed(capsys) == [[1]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "bad",
    [
        {},
        3,
        s3_event("a%00b")["Records"][0],
        s3_event("%FF")["Records"][0],
        {"s3": {"object": {"key": 3}}},
    ],
)
@pytest.mark.usefixtures("served")
def test_a_bad_record_takes_no_other_with_it(function, capsys, bad):
    a_rule(domain="files.example.com")
    a, c = s3_event("a", "c")["Records"]
    with pytest.raises(function.Refused, match="1 of 3 records are refused"):
        function.handler({"Records": [a, bad, c]}, Context())
    assert set(Job.objects.values_list("key", flat=True)) == {"a", "c"}
    assert refusals_printed(capsys) == [[1]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("served")
def test_a_bad_sns_message_takes_no_other_with_it_and_has_the_number_of_its_dead_letter(
    function, capsys
):
    a_rule(domain="files.example.com")
    event = sns_event(
        {"Event": "s3:TestEvent"}, s3_event("a", "b"), EVENTBRIDGE_EVENT, s3_event("c")
    )
    for place, text in ((1, "no JSON"), (4, "3"), (6, '{"Records": 3}')):
        event["Records"].insert(place, {"EventSource": "aws:sns", "Sns": {"Message": text}})
    event["Records"].append({"EventSource": "aws:sns", "Sns": {}})
    with pytest.raises(function.Refused, match="4 of 9 records are refused"):
        function.handler(event, Context())
    keys = {"a", "b", "a b+c.jpg", "c"}
    assert set(Job.objects.values_list("key", flat=True)) == keys
    printed = sorted(number for numbers in refusals_printed(capsys) for number in numbers)

    # Lambda puts this into the on-failure queue, which s3sync polls.
    record = json.dumps({"requestContext": {}, "requestPayload": event})
    queue = EventQueue.objects.create(name="failed", url="https://q/1", region="r")
    message = Message("m", receipt_handle="r", body=record, sent_at=datetime.now(UTC))
    take_messages(queue, [message])
    letters = DeadLetter.objects.order_by("record").values_list("record", flat=True)
    assert list(letters) == printed == [0, 4, 6, 7]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "event", [{"Records": [SQS_RECORD]}, [SQS_RECORD]], ids=["by a queue", "by a pipe"]
)
@pytest.mark.usefixtures("served")
def test_a_record_of_sqs_says_to_let_s3sync_poll_the_queue(function, event):
    with pytest.raises(function.Refused, match="let s3sync poll that queue"):
        function.handler(event, Context())


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("served")
def test_a_bad_item_of_a_list_takes_no_other_with_it_and_has_the_number_of_its_dead_letter(
    function, capsys
):
    a_rule(domain="files.example.com")
    event = [s3_event("a"), 3, SQS_RECORD, s3_event("b", "c"), "text"]
    with pytest.raises(function.Refused, match="3 of 6 records are refused"):
        function.handler(event, Context())
    assert set(Job.objects.values_list("key", flat=True)) == {"a", "b", "c"}
    printed = sorted(number for numbers in refusals_printed(capsys) for number in numbers)

    record = json.dumps({"requestContext": {}, "requestPayload": event})
    queue = EventQueue.objects.create(name="failed", url="https://q/1", region="r")
    message = Message("m", receipt_handle="r", body=record, sent_at=datetime.now(UTC))
    take_messages(queue, [message])
    letters = DeadLetter.objects.order_by("record").values_list("record", flat=True)
    assert list(letters) == printed == [1, 2, 5]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event", ["text", 3, None, True])
@pytest.mark.usefixtures("served")
def test_an_event_that_is_no_object_is_refused_with_a_reason(function, event):
    with pytest.raises(function.Refused, match=r"1 of 1 records are refused.*eventVersion"):
        function.handler(event, Context())


def test_a_refused_call_keeps_no_other_call_from_being_sent(function, server, monkeypatch, capsys):
    monkeypatch.setattr(function, "MAX_EVENTS", 2)
    server.answers = [(413, {"error": "too_large"}, {}), ACCEPTED]
    with pytest.raises(function.Refused, match=r"2 of 3 records are refused.*2 records, the first"):
        function.handler(s3_event("a", "b", "c"), Context())
    assert server.bodies == [s3_event("a", "b"), s3_event("c")]
    assert refusals_printed(capsys) == [[0, 1]]


def test_a_refused_record_is_not_sent_again_while_another_call_is_retried(
    function, server, monkeypatch, capsys
):
    monkeypatch.setattr(function, "MAX_EVENTS", 2)
    refused = {"number": 1, "result": "refused", "error": "invalid_event", "detail": "it is bad."}
    taken = {"number": 0, "result": "taken", "error": "", "detail": ""}
    partly = {"error": "invalid_event", "detail": "…", "job_ids": [1], "unmatched": 0}
    server.answers = [
        (422, partly | {"results": [taken, refused]}, {}),
        (503, {}, {}),
        ACCEPTED,
    ]
    with pytest.raises(function.Refused, match=r"1 of 3 .*2 jobs .*: record 1: it is bad\."):
        function.handler(s3_event("a", "b", "c"), Context())
    assert server.bodies == [s3_event("a", "b"), s3_event("c"), s3_event("c")]
    assert refusals_printed(capsys) == [[1]]


def test_an_answer_that_is_cut_off_is_asked_for_again(function, server):
    server.answers = [(422, {"results": "…"}, {"Content-Length": "9999"}), ACCEPTED]
    assert function.handler(EVENTS["s3"], Context()) == {"jobs": 1, "unmatched": 0}
    assert server.bodies == [EVENTS["s3"]] * 2


def test_the_error_names_the_first_refused_records_and_the_log_all(function, server, capsys):
    results = [
        {"number": number, "result": "refused", "error": "invalid_event", "detail": "it is bad."}
        for number in range(8)
    ]
    partly = {"error": "x", "detail": "…", "job_ids": [], "unmatched": 0, "results": results}
    server.answers = [(422, partly, {})]
    with pytest.raises(function.Refused, match=r"record 4: .*; 3 more are in the log") as raised:
        function.handler(s3_event(*"abcdefgh"), Context())
    assert "record 5" not in str(raised.value)
    assert refusals_printed(capsys) == [[number] for number in range(8)]


def test_a_message_with_several_records_that_is_sent_as_it_is_has_its_own_numbers(function, server):
    """As when a person invokes the function again with Lambda's record of a failed invocation."""
    results = [
        {"number": 0, "result": "taken", "error": "", "detail": ""},
        {"number": 1, "result": "refused", "error": "invalid_event", "detail": "it is bad."},
    ]
    partly = {"error": "x", "detail": "…", "job_ids": [1], "unmatched": 0, "results": results}
    server.answers = [(422, partly, {})]
    record = {"requestContext": {}, "requestPayload": s3_event("a", "%00")}
    with pytest.raises(function.Refused, match="record 1: it is bad"):
        function.handler(record, Context())
    assert server.bodies == [record]


# -- failures ----------------------------------------------------------------------------------


def test_it_retries_while_s3sync_is_unavailable(function, server):
    unavailable: Answer = (503, {"error": "database_unavailable", "detail": "later"}, {})
    server.answers = [unavailable, None, (429, {}, {}), (502, {}, {}), ACCEPTED]
    assert function.handler(EVENTS["s3"], Context()) == {"jobs": 1, "unmatched": 0}
    assert server.bodies == [EVENTS["s3"]] * 5
    assert len(set(server.signatures)) == 5  # each try has a new signature: none is a replay


def test_it_waits_as_long_as_the_server_requests(function, server):
    server.answers = [(503, {}, {"Retry-After": "20"})]
    with pytest.raises(function.NotForwarded, match=r"gave up after 1 tries.*s3sync answers 503"):
        function.handler(EVENTS["s3"], Context(seconds=5))


def test_it_gives_up_before_lambda_does(function, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("S3SYNC_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(function.NotForwarded, match="can't be reached"):
        function.handler(EVENTS["s3"], Context(seconds=2.5))


def test_it_gives_up_on_a_silent_server_after_the_timeout(function, monkeypatch):
    monkeypatch.setenv("S3SYNC_TIMEOUT_SECONDS", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("S3SYNC_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(function.NotForwarded, match="timed out"):
            function.handler(EVENTS["s3"], Context(seconds=2.4))


def test_a_redirect_is_not_followed_with_the_events(function, server):
    server.answers = [(301, {}, {"Location": "https://s3sync.example.com/"})]
    with pytest.raises(function.Refused, match=r"redirects to https://s3sync\.example\.com/"):
        function.handler(EVENTS["s3"], Context())


def test_a_server_that_is_not_s3sync_is_reported(function, server):
    server.answers = [(200, "welcome", {})]
    with pytest.raises(function.Refused, match="answers 200 instead of 202: check that S3SYNC_URL"):
        function.handler(EVENTS["s3"], Context())


@pytest.mark.parametrize("key", ["secret", f"secret{' ' * 40}", ""])
def test_a_key_that_is_too_short_is_refused_and_not_shown(function, server, monkeypatch, key):
    monkeypatch.setenv("S3SYNC_KEY", key)
    with pytest.raises(function.Refused, match=r"S3SYNC_KEY .* needs at least 32") as raised:
        function.handler(EVENTS["s3"], Context())
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "S3SYNC_ALLOWED_HOSTS"), (403, "firewall"), (413, "1 MiB")]
)
def test_a_refusal_by_another_server_comes_with_a_hint(function, server, status, hint):
    server.answers = [(status, "<html>", {})]
    with pytest.raises(function.Refused, match=hint):
        function.handler(EVENTS["s3"], Context())


@pytest.mark.parametrize("url", ["s3sync.example.com", "file:///etc", ""])
def test_an_invalid_url_is_refused(function, monkeypatch, url):
    monkeypatch.setenv("S3SYNC_URL", url)
    with pytest.raises(function.Refused, match="S3SYNC_URL must look like"):
        function.handler(EVENTS["s3"], Context())


def test_neither_the_key_nor_a_signature_is_printed(function, server, capsys):
    server.answers = [(503, {}, {}), None, ACCEPTED]
    function.handler(EVENTS["s3"], Context())
    printed = capsys.readouterr()
    assert "try_failed" in printed.out
    for secret in (LAMBDA_KEY, *server.signatures):
        assert secret not in printed.out + printed.err


def test_many_keys_are_sent_in_lists_that_s3sync_accepts(function, server, monkeypatch):
    monkeypatch.setenv("S3SYNC_DOMAIN", "files.example.com")
    monkeypatch.setattr(function, "MAX_EVENTS", 2)
    server.answers = [ACCEPTED, ACCEPTED]
    event = {"Records": [record for key in "abc" for record in s3_event(key)["Records"]]}
    function.handler(event, Context())
    assert server.bodies == [
        [{"domain": "files.example.com", "key": key} for key in keys] for keys in ("ab", "c")
    ]


def test_the_records_of_one_invocation_are_sent_in_as_few_calls_as_possible(function, server):
    keys = [f"{number:04}-{'k' * 900}" for number in range(2500)]
    server.answers = [ACCEPTED] * 4
    event = sns_event(*[s3_event(*keys[start : start + 50]) for start in range(0, 2500, 50)])
    assert function.handler(event, Context())["jobs"] == 3
    sizes = [len(json.dumps(body, separators=(",", ":"))) for body in server.bodies]
    assert all(size <= MAX_BODY_BYTES for size in sizes)
    assert sum(sizes[:-1]) > 0.99 * MAX_BODY_BYTES * (len(sizes) - 1)
    records = [record for body in server.bodies for record in body["Records"]]
    assert [record["s3"]["object"]["key"] for record in records] == keys


def test_its_limits_are_the_servers_limits(function):
    assert (function.MAX_BODY_BYTES, function.MAX_EVENTS) == (MAX_BODY_BYTES, MAX_EVENTS)
    assert (function.SCHEME, function.MIN_KEY_LENGTH) == (SCHEME, MIN_LAMBDA_KEY_LENGTH)


# -- deployment --------------------------------------------------------------------------------


def test_the_zip_is_reproducible_and_runs_with_the_standard_library_alone(
    function, server, tmp_path
):
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        subprocess.run([sys.executable, "-I", LAMBDA / "package.py", folder], check=True)
    (path,) = first.iterdir()
    (again,) = second.iterdir()
    assert (path.name, path.read_bytes()) == (again.name, again.read_bytes())
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.split("-")[-1])

    server.answers = [ACCEPTED]
    as_lambda_does = (
        "import json, os, sys, types; sys.path.insert(0, sys.argv[1]); "
        "from handler import handler; "
        "context = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000); "
        "handler(json.loads(sys.argv[2]), context)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", as_lambda_does, path, json.dumps(EVENTS["s3"])],
        env={"S3SYNC_URL": server.url, "S3SYNC_KEY": LAMBDA_KEY},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(done.stdout) == {"event": "forwarded", "jobs": 1, "unmatched": 0}
    assert server.bodies == [EVENTS["s3"]]


def test_the_template_is_valid_for_cloudformation():
    assert cfnlint.lint((LAMBDA / "template.yaml").read_text()) == []


def test_the_readme_describes_every_variable_and_parameter():
    document = (LAMBDA / "README.md").read_text()
    variables = set(re.findall(r"S3SYNC_[A-Z_]+", (LAMBDA / "handler.py").read_text()))
    variables -= {"S3SYNC_ALLOWED_HOSTS", "S3SYNC_LAMBDA_KEYS"}  # the server's settings
    template = (LAMBDA / "template.yaml").read_text()
    parameters = re.findall(r"^  (\w+):\n    Type: (?:String|Number)", template, re.MULTILINE)
    assert len(parameters) == 9, parameters
    assert [name for name in [*variables, *parameters] if f"`{name}`" not in document] == []
