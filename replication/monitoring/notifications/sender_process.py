"""The one module that knows apprise; `python -m` it: a request on standard input, an answer out.

It is a process of its own, begun for one message: lanes go without apprise's 25 MB, the parent can
end it whatever a server or a resolver does, and URLs, which hold secrets, are on no command line.
Nothing of Django is loaded.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from replication.monitoring.notifications.apprise_plugins import PLUGINS

_UNKNOWN = (
    "no service takes it: a wrong scheme, or a part that is missing; "
    "docs/guides/notifications.md has an example of each"
)


def main() -> None:
    """Answer the request: for each URL its service, and what is wrong with it or went wrong."""
    request = json.load(sys.stdin)
    # For a parent that was killed; it would have ended this process a little earlier.
    signal.alarm(int(request["seconds"]) + 10)
    # Apprise tells its reasons by its log; they are taken from its results instead.
    logging.getLogger().addHandler(logging.NullHandler())
    services = [_service(url) for url in request["urls"]]
    answers = [_found(service) for service in services]
    known = [number for number, service in enumerate(services) if service is not None]
    if request["message"] and known:
        sent = _send(
            [service for service in services if service is not None],
            **request["message"],
            seconds=request["seconds"],
        )
        for number, answer in zip(known, sent, strict=True):
            answers[number] = answer
    print(json.dumps(answers), flush=True)  # noqa: T201  the parent reads it
    os._exit(0)  # apprise's threads may still wait for a server that does not answer


def _service(url: str) -> NotifyBase | None:
    """Apprise's service of the URL; None if there is none or it lacks something."""
    asset = AppriseAsset(
        app_id="s3sync",
        app_desc="s3sync",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        # A redirect would carry what is in the URL and the headers to somebody else.
        http_redirects=False,
        storage_mode="memory",
        async_mode=True,
    )
    service: Any = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    plugin = PLUGINS.get(type(service))
    if plugin is not None:
        service = plugin(asset=asset, **type(service).parse_url(url))
    return service


def _found(service: NotifyBase | None) -> dict[str, str]:
    if service is None:
        return {"service": "", "error": _UNKNOWN}
    return {"service": str(service.service_name), "error": ""}


def _send(
    services: Sequence[NotifyBase], *, title: str, body: str, kind: str, seconds: float
) -> list[dict[str, str]]:
    """Send to all of them at the same time; `seconds` is for all together."""
    outlet = Apprise(asset=services[0].asset)
    for service in services:
        outlet.add(service)
    result = outlet.notify(
        body=body,
        title=title,
        notify_type=NotifyType(kind),
        body_format=NotifyFormat.TEXT,
        timeout=seconds,
    )
    return [{"service": str(each.name), "error": "" if each else _reason(each)} for each in result]


def _reason(result: Any) -> str:
    """What apprise logged about it, at WARNING and above."""
    said = [entry.message for attempt in result for entry in attempt]
    return " ".join(said) or f"it ended as {result.status.name}"


if __name__ == "__main__":
    main()
