"""Filters of the status page: its values look as those of the admin's lists do."""

from datetime import timedelta

from django import template

from replication.admin import cells

register = template.Library()
register.filter("ago", cells.ago)


@register.filter
def duration(seconds: float | None) -> str:
    """A number of seconds as people say it; a dash for none."""
    return cells.duration(None if seconds is None else timedelta(seconds=seconds))


@register.filter
def count(number: int | None) -> str:
    """A number with its thousands set apart; a dash for none."""
    return cells.NOTHING if number is None else f"{number:,}"
