"""Sends one message to a target's URLs, within SEND_SECONDS, and keeps what is secret in them.

The URLs are a value of a credential profile, as access keys are: never in the database. Neither
they nor a part of them is in anything that this module returns, logs or raises.
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

# All URLs of a target are tried at the same time.
SEND_SECONDS = 15.0
# Longer than that: its beginning and its end.
_GRACE_SECONDS = 5.0

_MAX_REASON_LENGTH = 500
_SECRET_PARTS = re.compile(r"[/?&=@:,#+]+")
# Shorter ones are a port, `to`, a mode; to take these out of a reason would make it unreadable.
_SHORTEST_SECRET = 4
REDACTED = "…"


class Unsendable(Exception):
    """Nothing was sent, or nobody can tell; the reason is fit for an operator's eyes."""


@dataclass(frozen=True)
class Message:
    """`kind` is one of apprise's: info, success, warning, failure."""

    title: str
    body: str
    kind: str


@dataclass(frozen=True)
class SendResult:
    """The services that took the message, and what went wrong with each of the others.

    One that took it is enough: the URLs of a target are ways to the same people.
    """

    accepted_by: tuple[str, ...]
    errors: tuple[str, ...]


def send(profile: str, message: Message, *, seconds: float = SEND_SECONDS) -> SendResult:
    """Send the message to every URL of the profile; returns within some 5 s more than `seconds`.

    Raises:
        Unsendable: the profile has no URL, or no answer came within the time.
    """
    answers = _run_sender_process(_urls(profile), message, seconds=seconds)
    return SendResult(
        accepted_by=tuple(each.service for each in answers if not each.error),
        errors=tuple(f"{each.service}: {each.error}" for each in answers if each.error),
    )


def services(profile: str) -> list[str]:
    """The names of the services that the profile's URLs lead to, e.g. Slack; nothing is sent.

    Raises:
        Unsendable: the profile has no URL, or one that no service takes.
    """
    answers = _run_sender_process(_urls(profile), None, seconds=SEND_SECONDS)
    if wrong := [f"{each.service}: {each.error}" for each in answers if each.error]:
        raise Unsendable(f"profile {profile!r}, {NOTIFY_URLS}: {'; '.join(wrong)}")
    return [each.service for each in answers]


def _urls(profile: str) -> list[str]:
    """They are apart by white space, which none of them contains."""
    try:
        urls = profile_value(profile, NOTIFY_URLS).split()
    except ReplicationError as error:
        raise Unsendable(error.detail) from error
    if not urls:
        raise Unsendable(f"profile {profile!r}: {NOTIFY_URLS} is empty")
    return urls


@dataclass(frozen=True)
class _UrlResult:
    """What came of a URL, or is wrong with it."""

    service: str
    error: str


def _run_sender_process(
    urls: Sequence[str], message: Message | None, *, seconds: float
) -> list[_UrlResult]:
    """Have `outlet` look at the URLs, and send the message where there is one."""
    request = {
        "urls": urls,
        "message": asdict(message) if message else None,
        "seconds": seconds,
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
        # The end of a traceback has the reason; it may repeat what it was given.
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise Unsendable(redact(f"could not be tried: {said[-1]}", urls)) from None
    return [
        # By its number, where no service takes it: all else of it may be secret.
        _UrlResult(each["service"] or f"URL number {number}", redact(each["error"], urls))
        for number, each in enumerate(answers, 1)
    ]


def redact(reason: str, urls: Sequence[str]) -> str:
    """The reason without any part of a URL, whole or between its separators, raw or decoded."""
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
