"""AWS Lambda function: forwards S3 events to s3sync, and returns only once they are committed.

Standard library only. Takes what S3, SNS and EventBridge invoke a function with. README.md
beside this file tells how to deploy it.
"""

import http.client
import itertools
import json
import os
import random
import re
import time
import urllib.error
import urllib.parse
import urllib.request

# Left for Lambda, so that it sees our error and not a timeout of its own.
RESERVE_SECONDS = 2.0
DEFAULT_TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0

# s3sync's limit of {domain, key} events in one call.
MAX_EVENTS = 1000


class NotForwarded(Exception):
    """Not taken in time: Lambda tries again, then uses the on-failure destination."""


class Refused(Exception):
    """s3sync refuses the event or the token: a person must correct the configuration."""


class _TryAgain(Exception):
    def __init__(self, reason, *, after_seconds=0.0):
        super().__init__(reason)
        self.after_seconds = after_seconds


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and would take the token to another place."""

    def redirect_request(self, *_args, **_kwargs):
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def handler(event, context):
    """Forward the event; return how many jobs it made.

    Raises:
        NotForwarded: no success within the time that the function has.
        Refused: an answer that another try would not change.
        KeyError: S3SYNC_URL or S3SYNC_TOKEN is not set.
    """
    url = os.environ["S3SYNC_URL"].rstrip("/") + "/api/v1/events"
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    jobs = unmatched = 0
    for body in _bodies(event, domain=os.environ.get("S3SYNC_DOMAIN", "")):
        answer = _post(url, body, token=os.environ["S3SYNC_TOKEN"], deadline=deadline)
        jobs += len(answer["job_ids"])
        unmatched += answer["unmatched"]
    print(json.dumps({"event": "forwarded", "jobs": jobs, "unmatched": unmatched}))
    return {"jobs": jobs, "unmatched": unmatched}


# -- what to send ------------------------------------------------------------------------------


def _bodies(event, *, domain):
    """Yield the bodies to post: the raw messages, or {domain, key} events if a domain is set."""
    messages = list(_messages(event))
    if not domain:
        yield from messages
        return
    places = [{"domain": domain, "key": key} for message in messages for key in _keys(message)]
    for start in range(0, len(places), MAX_EVENTS):
        yield places[start : start + MAX_EVENTS]


def _messages(event):
    """SNS invokes with a list of notifications in a shape of its own; take each by itself."""
    records = event.get("Records", [])
    if any("Sns" in record for record in records):
        for record in records:
            yield {"Type": "Notification", "Message": record["Sns"]["Message"]}
    else:
        yield event


def _keys(message):
    """The keys that a message is about; S3's test message is about none."""
    if message.get("Type") == "Notification":
        message = json.loads(message["Message"])
    if "detail" in message:  # EventBridge: the key is as it is
        yield message["detail"]["object"]["key"]
    for record in message.get("Records", []):
        yield urllib.parse.unquote_plus(record["s3"]["object"]["key"])


# -- sending it --------------------------------------------------------------------------------


def _post(url, body, *, token, deadline):
    """Post until it is taken, with exponential backoff and full jitter; return the answer."""
    if not re.fullmatch(r"[!-~]+", token):
        # http.client would quote the token in its complaint.
        raise Refused("S3SYNC_TOKEN has characters that no token has: is it copied whole?")
    if not url.startswith(("https://", "http://")):
        raise Refused("S3SYNC_URL must look like https://s3sync.example.com")
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        url,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    for number in itertools.count(1):
        try:
            return _post_once(request, deadline=deadline)
        except _TryAgain as error:
            print(json.dumps({"event": "try_failed", "number": number, "reason": str(error)}))
            ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (number - 1))
            pause = error.after_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load
            if time.monotonic() + pause >= deadline:
                raise NotForwarded(f"gave up after {number} tries: {error}") from error
            time.sleep(pause)
    raise AssertionError


def _post_once(request, *, deadline):
    limit = float(os.environ.get("S3SYNC_TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS))
    try:
        left = max(0.1, deadline - time.monotonic())
        with _opener.open(request, timeout=min(limit, left)) as answer:
            if answer.status != 202:
                raise Refused(f"{request.full_url} answers {answer.status}: is that s3sync?")
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"s3sync answers {error.code}: {error.read(2000).decode(errors='replace')}"
            if error.code in {408, 429} or error.code >= 500:
                raise _TryAgain(reason, after_seconds=_retry_after(error.headers)) from None
            if location := error.headers.get("Location"):
                reason = f"s3sync is not at S3SYNC_URL, but at {location}"
            raise Refused(reason) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _TryAgain(f"s3sync can't be reached: {error!r}") from error


def _retry_after(headers):
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
