"""AWS Lambda function: forwards S3 events to s3sync, and returns once their jobs are committed.

Uses the standard library only; Python 3.11 or later. Accepts the events that S3, SNS and
EventBridge invoke a function with. README.md beside this file says how to deploy it.
"""

import hashlib
import hmac
import http.client
import itertools
import json
import os
import random
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request

# Stop this long before Lambda's timeout, so that the function can report the cause itself.
RESERVE_SECONDS = 2.0
DEFAULT_TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0

# s3sync's limits of one call.
MAX_BODY_BYTES = 1024 * 1024
MAX_EVENTS = 1000

SCHEME = "S3SYNC-HMAC-SHA256"
MIN_KEY_LENGTH = 32

# What to do about an answer that a retry can't change; the answer may not come from s3sync itself.
HINTS = {
    400: "add the host of S3SYNC_URL to the server's S3SYNC_ALLOWED_HOSTS",
    401: "set S3SYNC_KEY to one of the server's S3SYNC_LAMBDA_KEYS",
    403: "check whether a proxy or a firewall on the way refuses the call",
    404: "check that S3SYNC_URL is the address of s3sync, without a path",
    413: "if a proxy on the way accepts less than 1 MiB, raise its limit",
}


class NotForwarded(Exception):
    """Not accepted in time: Lambda retries, and then uses the on-failure destination."""


class Refused(Exception):
    """A retry can't help: a person must fix what the message names."""


class _TryAgain(Exception):
    def __init__(self, reason, *, after_seconds=0.0):
        super().__init__(reason)
        self.after_seconds = after_seconds


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which turn a POST into a GET and can send the events elsewhere."""

    def redirect_request(self, *_args, **_kwargs):
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def handler(event, context):
    """Forward the event; return the numbers of jobs and of unmatched records.

    Raises:
        NotForwarded: s3sync did not accept the event within the function's time.
        Refused: an answer that a retry can't change, or a wrong setting.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    url, key = _url(), _key()
    jobs = unmatched = 0
    for body in _bodies(event, domain=os.environ.get("S3SYNC_DOMAIN", "").strip()):
        answer = _post(url, body, key=key, deadline=deadline)
        jobs += len(answer["job_ids"])
        unmatched += answer["unmatched"]
    print(json.dumps({"event": "forwarded", "jobs": jobs, "unmatched": unmatched}))
    return {"jobs": jobs, "unmatched": unmatched}


def _url():
    url = os.environ.get("S3SYNC_URL", "").strip().rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise Refused("S3SYNC_URL must look like https://s3sync.example.com")
    return url + "/api/v1/events"


def _key():
    """The key. No message may contain it. Secret stores often append a newline, so strip it."""
    key = os.environ.get("S3SYNC_KEY", "").strip()
    if len(key) < MIN_KEY_LENGTH:
        raise Refused(
            f"S3SYNC_KEY has {len(key)} characters, but needs at least {MIN_KEY_LENGTH}: set it to "
            "one whole key of the server's S3SYNC_LAMBDA_KEYS"
        )
    return key.encode()


# -- what to send ------------------------------------------------------------------------------


def _bodies(event, *, domain):
    """Yield the bodies to post, each as large as s3sync's limits allow.

    S3's records of one invocation are sent together, even if they came in several SNS messages.
    With a domain, the bodies have one {domain, key} for each object instead.
    """
    messages = list(_messages(event))
    if domain:
        objects = [{"domain": domain, "key": key} for message in messages for key in _keys(message)]
        yield from _packed(objects, before="[", after="]")
        return
    records = [record for message in messages for record in message.get("Records", [])]
    yield from _packed(records, before='{"Records":[', after="]}")
    for message in messages:
        if "Records" not in message:  # an event of EventBridge, or S3's test message
            yield _json(message)


def _messages(event):
    """Yield the messages in the event: SNS wraps each message in a record of its own."""
    records = event.get("Records", [])
    if any("Sns" in record for record in records):
        for record in records:
            try:
                yield json.loads(record["Sns"]["Message"])
            except ValueError as error:
                raise Refused(
                    f"an SNS message is not JSON, so it is not an S3 event: {error}"
                ) from error
    else:
        yield event


def _keys(message):
    """Yield the keys in a message; S3's test message has none."""
    if "detail" in message:  # EventBridge does not encode the key
        yield message["detail"]["object"]["key"]
    for record in message.get("Records", []):
        yield urllib.parse.unquote_plus(record["s3"]["object"]["key"])


def _packed(items, *, before, after):
    """Yield bodies with all items, in order: as few bodies as the limits of one call allow.

    An item above the limit is sent alone, and s3sync refuses it.
    """
    batch, size = [], 0
    for text in map(_json, items):
        full = len(before) + size + len(text) + 1 + len(after) > MAX_BODY_BYTES
        if batch and (full or len(batch) == MAX_EVENTS):
            yield before.encode() + b",".join(batch) + after.encode()
            batch, size = [], 0
        batch.append(text)
        size += len(text) + 1
    if batch:
        yield before.encode() + b",".join(batch) + after.encode()


def _json(value):
    return json.dumps(value, separators=(",", ":")).encode()


# -- sending it --------------------------------------------------------------------------------


def sign(body, *, key, now):
    """The Authorization header of a call with this body; docs/reference/api.md describes it.

    A random nonce makes each signature unique, because s3sync accepts a signature only once.
    """
    signed_at, nonce = int(now), secrets.token_hex(16)
    message = f"1\n{signed_at}\n{nonce}\n".encode() + body
    signature = hmac.new(key, message, hashlib.sha256).hexdigest()
    return f"{SCHEME} v=1,t={signed_at},n={nonce},s={signature}"


def _post(url, body, *, key, deadline):
    """Post until s3sync accepts it, with exponential backoff and full jitter; return the answer."""
    for number in itertools.count(1):
        try:
            return _post_once(url, body, key=key, deadline=deadline)
        except _TryAgain as error:
            print(json.dumps({"event": "try_failed", "number": number, "reason": str(error)}))
            ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (number - 1))
            pause = error.after_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load
            if time.monotonic() + pause >= deadline:
                raise NotForwarded(
                    f"gave up after {number} tries, because the function's time is nearly over; "
                    f"Lambda retries, or uses the on-failure destination: {error}"
                ) from error
            time.sleep(pause)
    raise AssertionError


def _post_once(url, body, *, key, deadline):
    """Sign and post the body; each wait for a byte ends before the deadline.

    Raises:
        _TryAgain: a later try may succeed.
        Refused: no retry can succeed.
    """
    request = urllib.request.Request(  # noqa: S310 - _url() has checked the scheme
        url,
        data=body,
        headers={
            "Authorization": sign(body, key=key, now=time.time()),
            "Content-Type": "application/json",
        },
    )
    limit = float(os.environ.get("S3SYNC_TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS))
    left = max(0.1, deadline - time.monotonic())
    try:
        with _opener.open(request, timeout=min(limit, left)) as answer:
            if answer.status != 202:
                raise Refused(
                    f"{url} answers {answer.status} instead of 202: check that S3SYNC_URL is the "
                    "address of s3sync"
                )
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"s3sync answers {error.code}: {error.read(2000).decode(errors='replace')}"
            if error.code in {408, 425, 429} or error.code >= 500:
                raise _TryAgain(reason, after_seconds=_retry_after(error.headers)) from None
            if location := error.headers.get("Location"):
                reason = f"S3SYNC_URL redirects to {location}: set it to that, without a path"
            elif hint := HINTS.get(error.code):
                reason += f" ({hint})"
            raise Refused(reason) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _TryAgain(f"s3sync can't be reached: {error!r}") from error


def _retry_after(headers):
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
