"""Filters of the page of a sweep."""

from django import template

from replication.admin import cells
from replication.admin.findings import finding_cause, finding_state

register = template.Library()
register.filter("finding_cause", finding_cause)
register.filter("finding_state", finding_state)


@register.filter
def percent(share: float) -> str:
    """A share, rounded down: nothing is at 100 % before its end."""
    return f"{int(100 * share)} %"


@register.filter
def rate(per_second: float | None) -> str:
    """A number of things a second; a dash for None."""
    if per_second is None:
        return cells.NOTHING
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


@register.filter
def money(amount: float) -> str:
    """An amount of money; small ones are no rounded zero."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"
