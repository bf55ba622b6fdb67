"""AWS Lambda function: forwards S3 events to s3sync, and returns only once they are committed.

Standard library only, Python 3.11 or later. Takes what S3, SNS and EventBridge invoke a function
with. README.md beside this file tells how to deploy it.
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

# Left for Lambda, so that it sees our error and not a timeout of its own.
RESERVE_SECONDS = 2.0
DEFAULT_TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0

# s3sync's limits of one call.
MAX_BODY_BYTES = 1024 * 1024
MAX_EVENTS = 1000

SCHEME = "S3SYNC-HMAC-SHA256"
MIN_KEY_LENGTH = 32

# What to do about an answer that another try would not change, where it is not s3sync that tells.
HINTS = {
    400: "the host of S3SYNC_URL must be in S3SYNC_ALLOWED_HOSTS of the server",
    401: "S3SYNC_KEY must be one of S3SYNC_LAMBDA_KEYS of the server",
    403: "does a proxy or a firewall on the way refuse the call?",
    404: "is S3SYNC_URL the address of s3sync, without a path?",
    413: "does a proxy on the way take less than 1 MiB? Raise its limit",
}


class NotForwarded(Exception):
    """Not taken in time: Lambda tries again, then uses the on-failure destination."""


class Refused(Exception):
    """Another try would not help: a person must correct what the message says."""


class _TryAgain(Exception):
    def __init__(self, reason, *, after_seconds=0.0):
        super().__init__(reason)
        self.after_seconds = after_seconds


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and would take the events to another place."""

    def redirect_request(self, *_args, **_kwargs):
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def handler(event, context):
    """Forward the event; return how many jobs it made.

    Raises:
        NotForwarded: no success within the time that the function has.
        Refused: an answer that another try would not change, or a setting that is wrong.
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
    """The key, which no message ever repeats; a secret store often adds a line's end."""
    key = os.environ.get("S3SYNC_KEY", "").strip()
    if len(key) < MIN_KEY_LENGTH:
        raise Refused(
            f"S3SYNC_KEY needs {MIN_KEY_LENGTH} characters or more, and has {len(key)}: set it to "
            "one of S3SYNC_LAMBDA_KEYS of the server, as a whole"
        )
    return key.encode()


# -- what to send ------------------------------------------------------------------------------


def _bodies(event, *, domain):
    """Yield the bodies to post, each as full as s3sync takes it.

    S3's records of one invocation go together, whatever they came in. With a domain it is one
    {domain, key} for each object instead.
    """
    messages = list(_messages(event))
    if domain:
        places = [{"domain": domain, "key": key} for message in messages for key in _keys(message)]
        yield from _packed(places, before="[", after="]")
        return
    records = [record for message in messages for record in message.get("Records", [])]
    yield from _packed(records, before='{"Records":[', after="]}")
    for message in messages:
        if "Records" not in message:  # EventBridge's, and S3's test message
            yield _json(message)


def _messages(event):
    """The messages in what the function is invoked with: SNS wraps each in a record of its own."""
    records = event.get("Records", [])
    if any("Sns" in record for record in records):
        for record in records:
            try:
                yield json.loads(record["Sns"]["Message"])
            except ValueError as error:
                raise Refused(f"an SNS message is not JSON, so not S3's: {error}") from error
    else:
        yield event


def _keys(message):
    """The keys that a message is about; S3's test message is about none."""
    if "detail" in message:  # EventBridge: the key is as it is
        yield message["detail"]["object"]["key"]
    for record in message.get("Records", []):
        yield urllib.parse.unquote_plus(record["s3"]["object"]["key"])


def _packed(items, *, before, after):
    """Yield bodies that have all items, in order: as few as the limits of one call allow.

    An item that is too large by itself goes alone: s3sync says so.
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
    """The Authorization header of a call with this body; docs/reference/api.md has its form.

    The nonce makes it another one each time: s3sync takes none twice.
    """
    signed_at, nonce = int(now), secrets.token_hex(16)
    message = f"1\n{signed_at}\n{nonce}\n".encode() + body
    signature = hmac.new(key, message, hashlib.sha256).hexdigest()
    return f"{SCHEME} v=1,t={signed_at},n={nonce},s={signature}"


def _post(url, body, *, key, deadline):
    """Post until it is taken, with exponential backoff and full jitter; return the answer."""
    for number in itertools.count(1):
        try:
            return _post_once(url, body, key=key, deadline=deadline)
        except _TryAgain as error:
            print(json.dumps({"event": "try_failed", "number": number, "reason": str(error)}))
            ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (number - 1))
            pause = error.after_seconds + random.uniform(0, ceiling)  # noqa: S311 - spreads load
            if time.monotonic() + pause >= deadline:
                raise NotForwarded(
                    f"gave up after {number} tries, as the function's time ends; Lambda takes it "
                    f"from here: {error}"
                ) from error
            time.sleep(pause)
    raise AssertionError


def _post_once(url, body, *, key, deadline):
    """Post it, signed now, and wait for no byte longer than the function has time.

    Raises:
        _TryAgain: later it may be taken.
        Refused: it never will.
    """
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
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
                raise Refused(f"{url} answers {answer.status}: is that s3sync?")
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"s3sync answers {error.code}: {error.read(2000).decode(errors='replace')}"
            if error.code in {408, 425, 429} or error.code >= 500:
                raise _TryAgain(reason, after_seconds=_retry_after(error.headers)) from None
            if location := error.headers.get("Location"):
                reason = f"s3sync is not at S3SYNC_URL, but at {location}"
            elif hint := HINTS.get(error.code):
                reason += f" ({hint})"
            raise Refused(reason) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _TryAgain(f"s3sync can't be reached: {error!r}") from error


def _retry_after(headers):
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
