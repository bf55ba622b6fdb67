"""Numbers and times in words for people."""

from datetime import datetime


def in_words(seconds: float) -> str:
    """Return e.g. "42 s", "3 min", "2 h 5 min", "1 d 4 h"."""
    minutes = int(seconds // 60)
    if minutes == 0:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def count(number: int, noun: str) -> str:
    """Return e.g. "1 job", "2,000 jobs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def age(moment: datetime, now: datetime) -> float:
    """Seconds from `moment` to `now`; at least 0."""
    return max(0.0, (now - moment).total_seconds())


def ago(moment: datetime, now: datetime) -> str:
    """Return e.g. "3 min ago"."""
    return f"{in_words(age(moment, now))} ago"
