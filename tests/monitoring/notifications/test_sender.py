"""Apprise sends a message, or the reason why not is reported; no secret leaks in either case."""

import contextlib
import json
import re
import socket
import threading
from asyncio.base_events import Server
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from apprise import AppriseAsset
from django.conf import settings

from replication.monitoring.notifications import sender
from replication.monitoring.notifications.apprise_plugins import (
    PLUGINS,
    DingTalkPlugin,
    WeComPlugin,
)
from replication.monitoring.notifications.sender import (
    Message,
    Unsendable,
    redact,
    send,
    services,
)
from tests.monitoring.notifications.conftest import SECRET, Webhook
from tests.support.http_origin import HttpOrigin, http_origin

MESSAGE = Message("s3sync: rule photos is parked", "WRONG since 12:00\nIt has no right.", "failure")

EXAMPLES = {
    "mailtos://user:password@smtp.example.com:587?from=s3sync@example.com&to=ops@example.com": (
        "E-Mail"
    ),
    "dingtalk://SECabcdef0123456789@0123456789abcdef0123456789abcdef/": "DingTalk",
    "feishu://01234567-89ab-cdef-0123-456789abcdef": "Feishu",
    "lark://01234567-89ab-cdef-0123-456789abcdef": "Lark (Feishu)",
    "wecombot://01234567-89ab-cdef-0123-456789abcdef": "WeCom Bot",
    "slack://T0123ABCD/B0123ABCD/0123456789abcdefghijklmn": "Slack",
    "https://hooks.slack.com/services/T0123ABCD/B0123ABCD/0123456789abcdefghijklmn": "Slack",
    "jsons://hooks.example.com/s3sync?+Authorization=Bearer%20token": "JSON",
}


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with http_origin() as server:
        yield server


def test_a_webhook_gets_the_title_the_text_and_the_severity(
    webhook: Webhook, addresses: Callable[..., None]
) -> None:
    addresses("oncall", webhook.url)
    sent = send("oncall", MESSAGE)
    assert (sent.accepted_by, sent.errors) == (("JSON",), ())
    assert webhook.origin.targets == [f"/{SECRET}"]
    message = webhook.last
    assert (message["title"], message["message"]) == (MESSAGE.title, MESSAGE.body)
    assert message["type"] == "failure"


def test_all_urls_of_a_target_are_tried_and_each_failure_is_named_without_its_secret(
    webhook: Webhook, addresses: Callable[..., None]
) -> None:
    with http_origin() as refusing, http_origin() as moved:
        refusing.answers(b"no", status="403 Forbidden")
        moved.answers(b"", status="302 Found", Location=f"{webhook.origin.url}/elsewhere")
        addresses(
            "oncall",
            f"json{refusing.url[4:]}/{SECRET}",
            f"json{moved.url[4:]}/{SECRET}",
            f"jsno://{SECRET}/",
            webhook.url,
        )
        sent = send("oncall", MESSAGE)
    assert sent.accepted_by == ("JSON",)
    assert "/elsewhere" not in webhook.origin.targets, "a redirect is not followed"
    assert [error.split(":")[0] for error in sent.errors] == ["JSON", "JSON", "URL number 3"]
    assert "403" in sent.errors[0]
    assert "302" in sent.errors[1]
    assert SECRET not in str(sent)


def test_a_server_that_does_not_answer_costs_no_more_than_the_time_limit(
    origin: HttpOrigin, addresses: Callable[..., None]
) -> None:
    over = threading.Event()

    def hold(_target: str) -> bytes:
        over.wait(10)
        return b""

    origin.answer = hold
    addresses("oncall", f"json{origin.url[4:]}/{SECRET}?rto=60")
    sent = send("oncall", MESSAGE, seconds=0.5)
    over.set()
    assert sent.accepted_by == ()
    assert "JSON: " in sent.errors[0]


def test_a_sender_process_that_does_not_end_is_killed(
    addresses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses("oncall", "json://127.0.0.1:9/")
    monkeypatch.setattr(sender, "_GRACE_SECONDS", 0)
    with pytest.raises(Unsendable, match=r"no answer within 0\.01 s"):
        send("oncall", MESSAGE, seconds=0.01)


class Inbox(MessageHandler):
    """Keeps the mails that the server receives."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


class MailServer(Controller):
    """An SMTP server on a free loopback port."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]  # super() connects to self.port
        super()._trigger_server()


def test_a_mail_has_the_title_as_its_subject(addresses: Callable[..., None]) -> None:
    inbox = Inbox()
    server = MailServer(inbox, hostname="127.0.0.1", port=0)
    server.start()
    try:
        addresses(
            "oncall",
            f"mailto://127.0.0.1:{server.port}?from=s3sync@example.com&to=ops@example.com"
            "&mode=insecure&format=text",
        )
        assert send("oncall", MESSAGE).errors == ()
    finally:
        server.stop()
    [mail] = inbox.mails
    assert mail["Subject"] == MESSAGE.title
    assert "ops@example.com" in mail["To"]
    assert "It has no right." in mail.as_string()


def test_the_documented_urls_are_accepted(
    addresses: Callable[..., None],
) -> None:
    addresses("oncall", *EXAMPLES)
    assert services("oncall") == list(EXAMPLES.values())
    page = (settings.BASE_DIR / "docs/guides/notifications.md").read_text()
    documented = set(re.findall(r"`(\w+)://", page))
    assert documented == {url.partition("://")[0] for url in EXAMPLES} - {"https"}


def test_a_url_that_no_service_accepts_is_named_only_by_its_number(
    addresses: Callable[..., None],
) -> None:
    addresses("oncall", "json://127.0.0.1/", f"slack://{SECRET}", f"nope://{SECRET}")
    with pytest.raises(Unsendable) as refusal:
        services("oncall")
    assert "URL number 2: no service accepts it" in str(refusal.value)
    assert "URL number 3: no service accepts it" in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_urls_are_read_from_a_mounted_file_or_the_environment(
    tmp_path: Path, limits: Callable[..., None], addresses: Callable[..., None]
) -> None:
    limits(secrets_dir=tmp_path)
    with pytest.raises(Unsendable) as refusal:
        services("oncall")
    assert "S3SYNC_PROFILE_ONCALL_NOTIFY_URLS in the environment" in str(refusal.value)
    assert f"the file {tmp_path}/oncall/notify_urls" in str(refusal.value)
    addresses("oncall", "json://127.0.0.1/")
    (tmp_path / "oncall").mkdir()
    file = tmp_path / "oncall" / "notify_urls"
    file.write_text("\n")
    with pytest.raises(Unsendable, match="notify_urls is empty"):
        services("oncall")
    file.write_text("jsons://h/\nxml://h/\n")
    assert services("oncall") == ["JSON", "XML"]


def test_every_part_of_a_url_is_removed_from_a_reason() -> None:
    url = "mailtos://us%40er:p%2Fass@smtp.example.com:587?to=staff@example.com&pass=other"
    reason = redact(f"{url} p/ass us@er smtp.example.com staff@example.com other refused", [url])
    for part in ("p/ass", "us@er", "smtp", "staff", "other"):
        assert part not in reason
    assert reason.endswith("refused")


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        (DingTalkPlugin, {"token": "0123456789abcdef01", "secret": "SECret0123"}),
        (WeComPlugin, {"key": "01234567-89ab"}),
    ],
)
def test_a_refusal_with_http_200_is_not_taken_for_success(
    origin: HttpOrigin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plugin: Any,
    options: dict[str, str],
) -> None:
    monkeypatch.setattr(plugin, "notify_url", f"{origin.url}/send?key={{{_placeholder(plugin)}}}")
    service = plugin(asset=AppriseAsset(), **options)
    origin.answers(b'{"errcode": 0, "errmsg": "ok"}')
    assert service.send("text", title="title")
    payload = json.loads(origin.request.partition(b"\r\n\r\n")[2])
    assert payload["msgtype"] == "text"
    assert payload["text"] == {"content": "title\ntext"}
    for answer in (b'{"errcode": 310000, "errmsg": "keywords not in content"}', b"<html>", b"[]"):
        origin.answers(answer)
        assert not service.send("text")
    assert "310000: keywords not in content" in caplog.text
    origin.answers(b'{"errcode": 0}', status="500 Internal Server Error")
    assert not service.send("text")


def _placeholder(plugin: Any) -> str:
    return "token" if plugin is DingTalkPlugin else "key"


def test_the_dingtalk_signature_is_url_encoded_once(
    origin: HttpOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DingTalkPlugin, "notify_url", f"{origin.url}/send?access_token={{token}}")
    origin.answers(b'{"errcode": 0}')
    assert DingTalkPlugin(token="0123456789abcdef01", secret="SECret").send("text")
    query = dict(pair.split("=", 1) for pair in origin.targets[0].partition("?")[2].split("&"))
    assert query["sign"].endswith("%3D")
    assert "%25" not in query["sign"]
    assert len(query["timestamp"]) == 13


def test_our_plugins_replace_those_of_apprise() -> None:
    assert set(PLUGINS.values()) == {DingTalkPlugin, WeComPlugin}
    for theirs, ours in PLUGINS.items():
        assert issubclass(ours, theirs)


def test_a_private_address_is_never_contacted(
    monkeypatch: pytest.MonkeyPatch, addresses: Callable[..., None]
) -> None:
    nothing = settings.S3SYNC.model_copy(update={"private_networks": []})
    monkeypatch.setattr(settings, "S3SYNC", nothing)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        addresses("oncall", f"json://localhost:{port}/", f"mailto://a:b@localhost:{port}?to=c@d.io")
        result = send("oncall", MESSAGE)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert result.accepted_by == ()
    assert all("S3SYNC_PRIVATE_NETWORKS" in error for error in result.errors)
    assert len(result.errors) == 2


def test_an_endless_answer_does_not_fill_the_memory(addresses: Callable[..., None]) -> None:
    sent_mb = 0

    def answer_without_end(listener: socket.socket) -> None:
        nonlocal sent_mb
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while sent_mb < 2000:
                connection.sendall(b"x" * 1_000_000)
                sent_mb += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer_without_end, args=[listener])
        server.start()
        addresses("oncall", f"json://localhost:{listener.getsockname()[1]}/")
        try:
            errors = " ".join(send("oncall", MESSAGE).errors)
        except Unsendable as error:
            errors = str(error)
        server.join()
    assert errors
    assert sent_mb < 1000
