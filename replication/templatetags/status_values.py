"""Filters of the status page; they format values as the admin's lists do."""

from datetime import timedelta

from django import template

from replication.admin import cells

register = template.Library()
register.filter("ago", cells.ago)


@register.filter
def duration(seconds: float | None) -> str:
    """A number of seconds, in readable units; a dash for None."""
    return cells.duration(None if seconds is None else timedelta(seconds=seconds))


@register.filter
def count(number: int | None) -> str:
    """A number with thousands separators; a dash for None."""
    return cells.NOTHING if number is None else f"{number:,}"
