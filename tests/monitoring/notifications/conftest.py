"""A target whose webhook is a real server on loopback."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models.functions import Now

from replication.models import EventQueue, Heartbeat, LoopKind, NotificationTarget
from tests.support.http_origin import HttpOrigin, http_origin

SECRET = "a-tOkEn-that-nobody-may-see"


@dataclass(frozen=True)
class Webhook:
    """The server of a `json://` URL, and what it was sent."""

    origin: HttpOrigin

    @property
    def url(self) -> str:
        return f"{self.origin.url.replace('http', 'json')}/{SECRET}?cto=2&rto=2"

    @property
    def calls(self) -> int:
        return len(self.origin.targets)

    @property
    def last(self) -> dict[str, Any]:
        """The last message: title, message, type."""
        return json.loads(self.origin.request.partition(b"\r\n\r\n")[2])


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with http_origin() as origin:
        origin.answers(b"{}")
        yield Webhook(origin)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets a profile's URLs."""

    def set_(profile: str, *urls: str) -> None:
        monkeypatch.setenv(f"S3SYNC_PROFILE_{profile.upper()}_NOTIFY_URLS", "\n".join(urls))

    return set_


@pytest.fixture
def target(db: None, webhook: Webhook, addresses: Callable[..., None]) -> NotificationTarget:
    """A target that is told of the default kinds, in a service whose loops are alive."""
    addresses("oncall", webhook.url)
    a_living_loop(LoopKind.LANE)
    a_living_loop(LoopKind.POLLER)
    return NotificationTarget.objects.create(name="on-call", credential_profile="oncall")


def a_living_loop(kind: LoopKind) -> Heartbeat:
    return Heartbeat.objects.create(
        kind=kind, asked_at=Now(), started_at=Now(), beat_at=Now(), host="worker-1"
    )


def a_queue(name: str = "events", **fields: Any) -> EventQueue:
    """A queue that is polled and had a message just now."""
    url = f"https://sqs.ap-east-1.amazonaws.com/123456789012/{name}"
    found = {"last_polled_at": Now(), "last_message_at": Now()}
    return EventQueue.objects.create(name=name, url=url, region="ap-east-1", **(found | fields))
