"""What the canary of a rule tells: that its events don't arrive, or that it can't be put."""

from datetime import datetime

from replication.errors import ErrorCode
from replication.models import Canary
from replication.monitoring.status.wording import ago

_BY_ROUTE = {
    "queue": "No event from a queue",
    "api": "No call of the API, by the Lambda function or another program,",
    "any": "No event, by a queue or by the API,",
}
_WHAT_TO_CHECK = {
    "queue": "Check the bucket's notification and the queue",
    "api": "Check the bucket's trigger of the Lambda function, the function's log, and its way to "
    "this service",
    "any": "Check the bucket's notification",
}
_LOST = "changes at the source are probably not noticed."
_OTHER_ROUTE = (
    "one of the two routes of its events is silent; changes are still noticed by the other."
)
_GIVEN_UP = (
    " If this route is no longer in use, switch the rule's canary off, and on again after 2 "
    "minutes."
)


def silence(canary: Canary, now: datetime, *, is_polled: bool) -> str:
    """Say by which routes no event of the canary came, and what to do; empty if all did.

    Without pollers, nothing is known of queues.
    """
    routes = canary.silent_routes(now)
    if not is_polled:
        routes = [route for route in routes if route.name == "api"]
    texts = []
    for route in routes:
        assert route.unheard_since
        heard = f"the last one {ago(route.heard_at, now)}" if route.heard_at else "none ever did"
        texts.append(
            f"{_BY_ROUTE[route.name]} has told of the canary {_place(canary)} that was put "
            f"{ago(route.unheard_since, now)}, nor of any since ({heard}). "
            f"{_WHAT_TO_CHECK[route.name]}; `manage.py doctor --rule {canary.rule.name}` helps."
        )
    if not texts:
        return ""
    if is_polled and len(routes) < len(canary.routes):
        return f"Rule {canary.rule.name}: {_OTHER_ROUTE} {' '.join(texts)}{_GIVEN_UP}"
    return f"Rule {canary.rule.name}: {_LOST} {' '.join(texts)}"


def failure(canary: Canary, now: datetime) -> str:
    """Say why the canary can't be put, and what to do; empty if it can, or may soon."""
    meaning = canary.failure(now)
    if meaning is None or canary.failing_since is None:
        return ""
    cause, hint = meaning.cause, meaning.hint
    if canary.error_code == ErrorCode.SOURCE_ACCESS_DENIED:
        cause = "S3 does not let the source's credential profile write the object."
        hint = (
            f"Grant s3:PutObject on it to the profile {canary.rule.source.credential_profile!r} "
            "(`manage.py provision --write DIR` writes the policy), and kms:GenerateDataKey if the "
            "bucket encrypts with a KMS key; or switch the rule's canary off."
        )
    return (
        f"Rule {canary.rule.name}: its canary {_place(canary)} could not be put since "
        f"{ago(canary.failing_since, now)}, so lost events show only in the next comparison of "
        f"the buckets. {cause} {hint} ({canary.error_detail})"
    )


def _place(canary: Canary) -> str:
    return f"s3://{canary.rule.source.bucket}/{canary.key}"
