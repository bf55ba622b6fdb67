"""Finds what commands name."""

from django.core.management.base import CommandError

from replication.models import ReplicationRule


def rule_named(name: str) -> ReplicationRule:
    """The rule, with its source and destination.

    Raises:
        CommandError: with exit status 2, there is none of this name.
    """
    rules = ReplicationRule.objects.select_related("source", "destination")
    rule = rules.filter(name=name).first()
    if rule is None:
        names = ", ".join(rules.order_by("name").values_list("name", flat=True)) or "none"
        raise CommandError(f"there is no rule named {name!r}; there are: {names}", returncode=2)
    return rule
