"""Filters and tags of the admin's templates."""

from django import template

from replication.admin import cells
from replication.admin.status_page import list_of
from replication.jobs import held_deletes
from replication.models import ReplicationRule
from replication.monitoring.status import find_problems, read_numbers

register = template.Library()

register.filter("key", cells.key)
register.filter("short_key", cells.short_key)
register.filter("size", cells.size)
register.filter("moment", cells.moment)
register.filter("duration", cells.duration)
register.filter("job_state", cells.job_state)
register.filter("job_outcome", cells.job_outcome)


@register.filter
def waiting_deletes(rule: ReplicationRule) -> str:
    """How many of the rule's deletes wait for a person."""
    return cells.capped(held_deletes.count(rule.pk), held_deletes.MAX_SHOWN)


@register.filter
def has_waiting_deletes(rule: ReplicationRule) -> bool:
    """Whether a delete of the rule waits for a person."""
    return held_deletes.count(rule.pk) > 0


@register.inclusion_tag("admin/replication/what_needs_you.html")
def what_needs_you() -> dict[str, list[tuple[str, str]]]:
    """The problems of the status page, each with the list that shows more about it."""
    return {
        "needs": [(problem.detail, list_of(problem)) for problem in find_problems(read_numbers())]
    }
