"""AWS Lambda function: forwards S3 events to s3sync, and returns once their jobs are committed.

Uses the standard library only; Python 3.11 or later. Accepts the events that S3, SNS, EventBridge
and its pipes invoke a function with. README.md beside this file says how to deploy it.
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

# The error of a failed invocation has this many refusals; the log has all.
MAX_NAMED = 5

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
    """A retry can't help: a person must fix what the message names.

    Lambda invokes the function again all the same, and then uses the on-failure destination.
    """


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

    A refused record takes no other with it: the rest is sent, and the function fails at the end.

    Raises:
        NotForwarded: s3sync did not answer within the function's time.
        Refused: s3sync refused a record, or a whole call; or a setting is wrong.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    url, key = _url(), _key()
    jobs = unmatched = records = 0
    refused, reasons = 0, []
    for numbers, body in _calls(event, domain=os.environ.get("S3SYNC_DOMAIN", "").strip()):
        records += len(numbers)
        try:
            answer = _post(url, body, key=key, deadline=deadline)
        except Refused as error:  # the whole call; s3sync may take the others
            refused += len(numbers)
            reasons.append(_report(numbers, str(error)))
            continue
        jobs += len(answer["job_ids"])
        unmatched += answer["unmatched"]
        for number, reason in _refusals(answer, numbers):
            refused += 1
            reasons.append(_report([number], reason))
    forwarded = {"jobs": jobs, "unmatched": unmatched}
    print(json.dumps({"event": "forwarded", **forwarded}))
    if not reasons:
        return forwarded
    if len(reasons) > MAX_NAMED:
        reasons[MAX_NAMED:] = [f"{len(reasons) - MAX_NAMED} more are in the log"]
    raise Refused(
        f"{refused} of {records} records are refused, and a retry can't change that ({jobs} jobs "
        f"are made of the others): {'; '.join(reasons)}"
    )


def _refusals(answer, numbers):
    """Yield number and reason of each record that s3sync refused in a call with these records."""
    for result in answer.get("results", []):
        if result["result"] == "refused":
            place = result["number"]
            # A message that was sent as it is can have more records than the function sees in it.
            yield numbers[place] if len(numbers) > 1 else numbers[0] + place, result["detail"]


def _report(numbers, reason):
    """Print that these records are refused; return it as text."""
    print(json.dumps({"event": "records_refused", "records": numbers, "reason": reason}))
    if len(numbers) == 1:
        return f"record {numbers[0]}: {reason}"
    return f"{len(numbers)} records, the first of them {numbers[0]}: {reason}"


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


def _calls(event, *, domain):
    """Yield the body of each call, as large as s3sync's limits allow, after its records' numbers.

    S3's records of one invocation are sent together, even if they came in several SNS messages.
    With a domain, they are sent as {domain, key} instead. What has none of these forms is sent as
    it is, so that s3sync says what is wrong with it.
    """
    together, alone = [], []
    for number, message in _numbered(event):
        item = _domain_and_key(message, domain=domain) if domain else _native(message)
        if item is None:
            alone.append(([number], _json(message)))
        else:
            together.append((number, _json(item)))
    before, after = (b"[", b"]") if domain else (b'{"Records":[', b"]}")
    yield from _packed(together, before=before, after=after)
    yield from alone


def _numbered(event):
    """Yield each record as a message that has no other, after its number in the event, from 0.

    s3sync counts alike: it gives a dead letter the same number, if it polls the on-failure queue.
    """
    number = 0
    for message in _messages(event):
        records = message.get("Records")
        singles = [message]
        if isinstance(records, list):
            singles = [{"Records": [record]} for record in records]
        for single in singles:
            yield number, single
            number += message.get("Event") != "s3:TestEvent"  # that is no record


def _messages(event):
    """Yield the messages in the event: SNS wraps each message in a record of its own.

    A pipe invokes a function with a list of messages. What is no JSON object is s3sync's to refuse.
    """
    if isinstance(event, list):
        for item in event:
            yield from _messages(item if isinstance(item, dict) else {"Records": [item]})
        return
    if not isinstance(event, dict):
        yield {"Records": [event]}
        return
    records = event.get("Records")
    if not (isinstance(records, list) and any(map(_is_of_sns, records))):
        yield event
        return
    for record in records:
        try:
            message = json.loads(record["Sns"]["Message"])
        except (LookupError, TypeError, ValueError, RecursionError):
            message = None
        # A message that is no JSON object is s3sync's to refuse.
        yield message if isinstance(message, dict) else {"Records": [record]}


def _is_of_sns(record):
    return isinstance(record, dict) and "Sns" in record


def _native(message):
    """S3's record in a message with one record; None if it has another format."""
    return message["Records"][0] if isinstance(message.get("Records"), list) else None


def _domain_and_key(message, *, domain):
    """The {domain, key} of a message with one record; None if it has no readable key."""
    try:
        if "detail" in message:  # EventBridge does not encode the key
            key = message["detail"]["object"]["key"]
        else:
            key = message["Records"][0]["s3"]["object"]["key"]
            key = urllib.parse.unquote_plus(key, errors="strict")
    except (LookupError, TypeError, AttributeError, ValueError):
        return None
    return {"domain": domain, "key": key}


def _packed(items, *, before, after):
    """Yield calls with all items, in order: as few calls as the limits of one call allow.

    An item above the limit is sent alone, and s3sync refuses it.
    """
    numbers, texts, size = [], [], 0
    for number, text in items:
        full = len(before) + size + len(text) + 1 + len(after) > MAX_BODY_BYTES
        if texts and (full or len(texts) == MAX_EVENTS):
            yield numbers, before + b",".join(texts) + after
            numbers, texts, size = [], [], 0
        numbers.append(number)
        texts.append(text)
        size += len(text) + 1
    if texts:
        yield numbers, before + b",".join(texts) + after


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

    Returns s3sync's answer, also if s3sync refused some of the items: `results` has each item then.

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
            content = _content(error)
            if error.code in {404, 422} and (answer := _with_results(content)):
                return answer
            reason = f"s3sync answers {error.code}: {content[:2000].decode(errors='replace')}"
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


def _content(error):
    try:
        return error.read()
    except (OSError, http.client.HTTPException) as cut:
        raise _TryAgain(f"s3sync's answer {error.code} ended too early: {cut!r}") from None


def _with_results(content):
    """The answer, if it is of s3sync and has a result for each item; else None."""
    try:
        answer = json.loads(content)
        return answer if answer["results"] and "job_ids" in answer else None
    except (ValueError, TypeError, LookupError):
        return None
