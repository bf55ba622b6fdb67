"""Keeps this process from loading the pickles in django-q's table of results.

Nothing of ours reads that table. But its rows are not signed, and whatever reads one, such as
`manage.py dumpdata`, would run what its pickles say.
"""

from typing import Any

from django_q.models import Task


def bar_pickles() -> None:
    """Have the columns with pickles read as the text that they are."""
    for field in Task._meta.fields:
        if hasattr(field, "from_db_value"):  # only those columns convert what is read
            field.from_db_value = _as_text


def _as_text(value: Any, expression: Any, connection: Any) -> Any:
    return value
