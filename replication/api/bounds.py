"""What a token that is bound to rules reaches; what is not named here, it does not reach.

This is decided before a view runs: a new path is closed to such tokens until it is named here.
"""

from collections.abc import Callable, Set

from django.http import HttpRequest

from replication.api.refusals import Refused, no_such_job, no_such_rule, no_such_sweep
from replication.api.values import MAX_ID
from replication.models import Job, ReplicationRule, Sweep

# Paths of many rules whose views keep to the caller's, by `Caller.limit` or `Caller.rule_ids`.
_LIMITED_BY_VIEWS = {"events", "status", "rules", "sweeps", "jobs", "jobs/retry"}
_PREFIX = "api/v1/"


def check(request: HttpRequest, name: str, rule_ids: Set[int]) -> None:
    """Let the request of the token of this name pass if it concerns these rules.

    Raises:
        Refused: 404 for a row of another rule, as if there were none; 403 for what belongs to no
            single rule.
    """
    found = request.resolver_match
    path = found.route.removeprefix(_PREFIX) if found else ""
    values = dict(found.kwargs) if found else {}
    if not values and path in _LIMITED_BY_VIEWS:
        return
    if len(values) == 1:
        [(parameter, value)] = values.items()
        if parameter in _ROW_OF_PARAMETER:
            _ROW_OF_PARAMETER[parameter](str(value), rule_ids)
            return
    raise Refused(
        403,
        "outside_rules",
        f"The token {name} is bound to rules, and {request.path} is not about single rules. Use a "
        "token for all rules: `manage.py apitoken create NAME` without --rule.",
    )


def _check_rule(name: str, rule_ids: Set[int]) -> None:
    if not ReplicationRule.objects.filter(name=name, pk__in=rule_ids).exists():
        raise no_such_rule(name)


def _check_job(text: str, rule_ids: Set[int]) -> None:
    if _is_id(text) and not Job.objects.filter(pk=int(text), rule__in=rule_ids).exists():
        raise no_such_job(int(text))


def _check_sweep(text: str, rule_ids: Set[int]) -> None:
    if _is_id(text) and not Sweep.objects.filter(pk=int(text), rule__in=rule_ids).exists():
        raise no_such_sweep(int(text))


def _is_id(text: str) -> bool:
    """Whether the view takes it for an id; it refuses any other text, and so reaches no row."""
    try:
        return 1 <= int(text) <= MAX_ID
    except ValueError:
        return False


_ROW_OF_PARAMETER: dict[str, Callable[[str, Set[int]], None]] = {
    "name": _check_rule,
    "job_id": _check_job,
    "sweep_id": _check_sweep,
}
