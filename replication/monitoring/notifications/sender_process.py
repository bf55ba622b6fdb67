"""Sends one message through apprise: `python -m` this module, request on stdin, answer on stdout.

A process for each message keeps apprise's 25 MB out of the lanes, and the parent can end it
whatever a server or a resolver does. The URLs hold secrets, so they are on no command line.
Django is not loaded.
"""

import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from replication.monitoring.notifications.apprise_plugins import PLUGINS
from replication.stores.transport.door import Door
from replication.stores.transport.errors import AddressRefused

# Apprise's libraries read an answer whole, however long it is. They need 60 MB themselves.
_MEMORY_BYTES = 512 * 1024**2
_UNKNOWN = (
    "no service accepts it: its scheme is wrong or a part is missing; "
    "docs/guides/notifications.md has an example for each service"
)


def main() -> None:
    """Answer the request: for each URL its service and its error, empty if there is none."""
    request = json.load(sys.stdin)
    # For a parent that was killed: a living one ends this process a little earlier.
    signal.alarm(int(request["seconds"]) + 10)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    refusals = _pass_the_door(request["private_networks"])
    # Apprise logs why a message failed; _reason takes that from its results instead.
    logging.getLogger().addHandler(logging.NullHandler())
    services = [_service(url) for url in request["urls"]]
    answers = [_answer(service) for service in services]
    known = [number for number, service in enumerate(services) if service is not None]
    if request["message"] and known:
        sent = _send(
            [service for service in services if service is not None],
            **request["message"],
            seconds=request["seconds"],
        )
        for number, answer in zip(known, sent, strict=True):
            if answer["error"] and refusals:
                answer["error"] += f" ({'; '.join(refusals)})"
            answers[number] = answer
    print(json.dumps(answers), flush=True)  # noqa: T201  the parent reads it
    os._exit(0)  # apprise's threads may still wait for a server


def _pass_the_door(private_networks: list[str]) -> list[str]:
    """Have this process connect to permitted addresses alone, by whatever library.

    Returns a list that gets the refusals.
    """
    door, resolve, refusals = Door(private_networks=private_networks), socket.getaddrinfo, []
    proxies = {urlsplit(url).hostname for url in getproxies_environment().values()}

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> list[Any]:
        found = resolve(host, *rest, **named)
        if host in proxies:
            return found
        try:
            return door.permitted(f"{host}", found)
        except AddressRefused as refusal:
            refusals.append(f"{refusal}")
            raise OSError(f"{refusal}") from refusal

    socket.getaddrinfo = getaddrinfo
    return refusals


def _service(url: str) -> NotifyBase | None:
    """The service for the URL; None if no service accepts it, or the URL lacks a part."""
    asset = AppriseAsset(
        app_id="s3sync",
        app_desc="s3sync",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        # A redirect would send the secrets of the URL and the headers to another server.
        http_redirects=False,
        storage_mode="memory",
        async_mode=True,
    )
    service: Any = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    plugin = PLUGINS.get(type(service))
    if plugin is not None:
        service = plugin(asset=asset, **type(service).parse_url(url))
    return service


def _answer(service: NotifyBase | None) -> dict[str, str]:
    if service is None:
        return {"service": "", "error": _UNKNOWN}
    return {"service": str(service.service_name), "error": ""}


def _send(
    services: Sequence[NotifyBase], *, title: str, body: str, kind: str, seconds: float
) -> list[dict[str, str]]:
    """Send to all services at the same time; `seconds` is the limit for all together."""
    apprise = Apprise(asset=services[0].asset)
    for service in services:
        apprise.add(service)
    result = apprise.notify(
        body=body,
        title=title,
        notify_type=NotifyType(kind),
        body_format=NotifyFormat.TEXT,
        timeout=seconds,
    )
    return [{"service": str(each.name), "error": "" if each else _reason(each)} for each in result]


def _reason(result: Any) -> str:
    """What apprise logged about the failure, at WARNING and above."""
    lines = [entry.message for attempt in result for entry in attempt]
    return " ".join(lines) or f"status {result.status.name}"


if __name__ == "__main__":
    main()
