"""The Lambda function, over HTTP: against the product, and against a server that fails as told."""

import importlib.util
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest
from django.conf import settings

from replication.models import TransferJob
from tests.examples import a_rule

TOKEN = settings.S3SYNC.api_tokens[0]
Answer = tuple[int, object, dict[str, str]]

TAKEN: Answer = (202, {"job_ids": [1], "unmatched": 0}, {})


def s3_event(key: str) -> dict:
    """What S3 invokes a function with; the key is form-encoded."""
    s3 = {"bucket": {"name": "photos-bucket"}, "object": {"key": key}}
    return {"Records": [{"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": s3}]}


def sns_event(*messages: dict) -> dict:
    """What SNS invokes a function with."""
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
}


class Context:
    """As much of Lambda's context as the function asks for."""

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = settings.BASE_DIR / "deploy" / "lambda" / "handler.py"
    spec = importlib.util.spec_from_file_location("lambda_handler", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("S3SYNC_TOKEN", TOKEN)
    return module


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next of its answers: (status, JSON, headers), or hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answerer)
        self.answers: list[Answer | None] = []
        self.bodies: list[object] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answerer(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with Scripted() as scripted:
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
    assert TransferJob.objects.get().key == "a b+c.jpg"


@pytest.mark.django_db(transaction=True)
def test_several_notifications_of_sns_are_forwarded_each(function, live_server, monkeypatch):
    a_rule()
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    event = sns_event(s3_event("a"), s3_event("b"))
    assert function.handler(event, Context()) == {"jobs": 2, "unmatched": 0}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("domain", ["", "files.example.com"])
def test_the_test_message_of_s3_makes_no_job(function, live_server, monkeypatch, domain):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_DOMAIN", domain)
    answer = function.handler({"Event": "s3:TestEvent", "Bucket": "b"}, Context())
    assert answer == {"jobs": 0, "unmatched": 0}


@pytest.mark.django_db(transaction=True)
def test_a_wrong_token_is_refused_at_once_with_the_reason(function, live_server, monkeypatch):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_TOKEN", "wrong")
    with pytest.raises(function.Refused, match=r"401.*S3SYNC_API_TOKENS"):
        function.handler(EVENTS["s3"], Context())


@pytest.mark.django_db(transaction=True)
def test_an_unknown_domain_is_refused_at_once_with_the_reason(function, live_server, monkeypatch):
    monkeypatch.setenv("S3SYNC_URL", live_server.url)
    monkeypatch.setenv("S3SYNC_DOMAIN", "unknown.example.com")
    with pytest.raises(function.Refused, match=r"404.*unknown\.example\.com"):
        function.handler(EVENTS["s3"], Context())


# -- failures ----------------------------------------------------------------------------------


def test_while_s3sync_is_away_it_tries_again(function, server):
    unavailable: Answer = (503, {"error": "database_unavailable", "detail": "later"}, {})
    server.answers = [unavailable, None, (429, {}, {}), (502, {}, {}), TAKEN]
    assert function.handler(EVENTS["s3"], Context()) == {"jobs": 1, "unmatched": 0}
    assert server.bodies == [EVENTS["s3"]] * 5


def test_it_waits_as_long_as_the_server_asks_for(function, server):
    server.answers = [(503, {}, {"Retry-After": "20"})]
    with pytest.raises(function.NotForwarded, match="gave up after 1 tries: s3sync answers 503"):
        function.handler(EVENTS["s3"], Context(seconds=5))


def test_it_gives_up_before_lambda_does(function, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("S3SYNC_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(function.NotForwarded, match="can't be reached"):
        function.handler(EVENTS["s3"], Context(seconds=2.5))


def test_a_server_that_goes_silent_is_left_after_the_timeout(function, monkeypatch):
    monkeypatch.setenv("S3SYNC_TIMEOUT_SECONDS", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("S3SYNC_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(function.NotForwarded, match="timed out"):
            function.handler(EVENTS["s3"], Context(seconds=2.4))


def test_a_redirect_is_not_followed_with_the_token(function, server):
    server.answers = [(301, {}, {"Location": "https://s3sync.example.com/"})]
    with pytest.raises(function.Refused, match=r"but at https://s3sync\.example\.com/"):
        function.handler(EVENTS["s3"], Context())


def test_a_server_that_is_not_s3sync_is_named(function, server):
    server.answers = [(200, "welcome", {})]
    with pytest.raises(function.Refused, match="answers 200: is that s3sync"):
        function.handler(EVENTS["s3"], Context())


@pytest.mark.parametrize("token", ["secret value", "secret\n", "sécret", ""])
def test_a_token_that_can_not_be_one_is_refused_and_never_printed(
    function, server, monkeypatch, token
):
    monkeypatch.setenv("S3SYNC_TOKEN", token)
    with pytest.raises(function.Refused) as raised:
        function.handler(EVENTS["s3"], Context())
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["s3sync.example.com", "file:///etc", ""])
def test_an_address_that_is_none_is_refused(function, monkeypatch, url):
    monkeypatch.setenv("S3SYNC_URL", url)
    with pytest.raises(function.Refused, match="S3SYNC_URL must look like"):
        function.handler(EVENTS["s3"], Context())


def test_the_token_is_never_printed(function, server, capsys):
    server.answers = [(503, {}, {}), None, TAKEN]
    function.handler(EVENTS["s3"], Context())
    printed = capsys.readouterr()
    assert "try_failed" in printed.out
    assert TOKEN not in printed.out + printed.err


def test_many_keys_are_sent_in_lists_that_s3sync_takes(function, server, monkeypatch):
    monkeypatch.setenv("S3SYNC_DOMAIN", "files.example.com")
    monkeypatch.setattr(function, "MAX_EVENTS", 2)
    server.answers = [TAKEN, TAKEN]
    event = {"Records": [record for key in "abc" for record in s3_event(key)["Records"]]}
    function.handler(event, Context())
    assert server.bodies == [
        [{"domain": "files.example.com", "key": key} for key in keys] for keys in ("ab", "c")
    ]
