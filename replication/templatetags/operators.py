"""Filters and tags of the admin's templates."""

from django import template
from django.urls import reverse

from replication.admin import cells
from replication.admin.status_page import PROBLEM_LISTS
from replication.jobs import delete_brake
from replication.monitoring.status import find_problems, read_numbers

register = template.Library()

register.filter("key", cells.key)
register.filter("short_key", cells.short_key)
register.filter("size", cells.size)
register.filter("moment", cells.moment)
register.filter("duration", cells.duration)
register.filter("job_state", cells.job_state)
register.filter("job_outcome", cells.job_outcome)
register.filter("waiting_deletes", delete_brake.waiting)


@register.inclusion_tag("admin/replication/what_needs_you.html")
def what_needs_you() -> dict[str, list[tuple[str, str]]]:
    """The problems of the status page, each with the list that shows more about it."""
    return {
        "needs": [
            (
                problem.detail,
                reverse(f"admin:replication_{PROBLEM_LISTS[problem.code]}_changelist"),
            )
            for problem in find_problems(read_numbers())
        ]
    }
