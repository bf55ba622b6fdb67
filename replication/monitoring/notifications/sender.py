"""Sends one message to a target's URLs within SEND_SECONDS, and keeps their secrets.

The URLs are a value of a credential profile, like access keys: they are never in the database.
Nothing that this module returns, logs or raises contains a URL or a part of one.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from django.conf import settings

from replication.errors import ReplicationError
from replication.stores.credentials import profile_value

NOTIFY_URLS = "notify_urls"

# For all URLs of a target: they are tried at the same time.
SEND_SECONDS = 15.0
# Extra time for the sender process to start and to exit.
_GRACE_SECONDS = 5.0

_MAX_REASON_LENGTH = 500
_SECRET_PARTS = re.compile(r"[/?&=@:,#+]+")
# Shorter parts are a port, `to` or a mode; a reason without them would be unreadable.
_SHORTEST_SECRET = 4
REDACTED = "…"


class Unsendable(Exception):
    """Nothing was sent, or the outcome is unknown; the reason may be shown to operators."""


@dataclass(frozen=True)
class Message:
    """`kind` is one of apprise's notify types: info, success, warning, failure."""

    title: str
    body: str
    kind: str


@dataclass(frozen=True)
class SendResult:
    """The services that accepted the message, and the error of each other service.

    One service that accepted it is enough: all URLs of a target lead to the same people.
    """

    accepted_by: tuple[str, ...]
    errors: tuple[str, ...]


def send(profile: str, message: Message, *, seconds: float = SEND_SECONDS) -> SendResult:
    """Send the message to every URL of the profile; returns within about `seconds` + 5 s.

    Raises:
        Unsendable: the profile has no URL, or no answer came in time.
    """
    answers = _run_sender_process(_urls(profile), message, seconds=seconds)
    return SendResult(
        accepted_by=tuple(each.service for each in answers if not each.error),
        errors=tuple(f"{each.service}: {each.error}" for each in answers if each.error),
    )


def services(profile: str) -> list[str]:
    """Name the services of the profile's URLs, e.g. Slack; nothing is sent.

    Raises:
        Unsendable: the profile has no URL, or one that no service accepts.
    """
    answers = _run_sender_process(_urls(profile), None, seconds=SEND_SECONDS)
    if wrong := [f"{each.service}: {each.error}" for each in answers if each.error]:
        raise Unsendable(f"profile {profile!r}, {NOTIFY_URLS}: {'; '.join(wrong)}")
    return [each.service for each in answers]


def _urls(profile: str) -> list[str]:
    """The profile's URLs; white space separates them, as a URL contains none."""
    try:
        urls = profile_value(profile, NOTIFY_URLS).split()
    except ReplicationError as error:
        raise Unsendable(error.detail) from error
    if not urls:
        raise Unsendable(f"profile {profile!r}: {NOTIFY_URLS} is empty")
    return urls


@dataclass(frozen=True)
class _UrlResult:
    """The service of one URL, and what is or went wrong with it."""

    service: str
    error: str


def _run_sender_process(
    urls: Sequence[str], message: Message | None, *, seconds: float
) -> list[_UrlResult]:
    """Have sender_process read the URLs, and send the message if there is one.

    Raises:
        Unsendable: the process did not answer in time, or failed.
    """
    request = {
        "urls": urls,
        "message": asdict(message) if message else None,
        "seconds": seconds,
        "private_networks": settings.S3SYNC.private_networks,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "replication.monitoring.notifications.sender_process"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=seconds + _GRACE_SECONDS,
            cwd=settings.BASE_DIR,
            check=False,
        )
        answers = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Unsendable(f"no answer within {seconds:g} s") from None
    except ValueError:
        # The last line of a traceback has the reason, and may repeat a URL.
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unsendable(redact(f"the sender process failed: {lines[-1]}", urls)) from None
    return [
        # A URL that no service accepts is named by its number: any part of it may be secret.
        _UrlResult(each["service"] or f"URL number {number}", redact(each["error"], urls))
        for number, each in enumerate(answers, 1)
    ]


def redact(reason: str, urls: Sequence[str]) -> str:
    """Remove every URL and every part between its separators, raw or decoded, from the reason."""
    parts = {
        part
        for url in urls
        for raw in [url, *_SECRET_PARTS.split(url.partition("://")[2])]
        for part in (raw, unquote(raw), *_SECRET_PARTS.split(unquote(raw)))
        if len(part) >= _SHORTEST_SECRET
    }
    for part in sorted(parts, key=len, reverse=True):
        reason = reason.replace(part, REDACTED)
    return reason[:_MAX_REASON_LENGTH]
