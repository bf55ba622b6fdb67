"""System checks: the settings of django-q that the engine relies on."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

# Why each must be so: docs/decisions/lanes-and-jobs.md
_REQUIRED = {
    "orm": ("default", "tasks and jobs are committed together"),
    "broker_class": (
        "replication.cluster.broker.PatientBroker",
        "django-q's own gives up for 10 s when the database is away for a moment",
    ),
    "poll": (0, "the broker waits until a loop is asked for"),
    "max_attempts": (1, "jobs/ has the one retry policy"),
    "ack_failures": (True, "jobs/ has the one retry policy"),
    "queue_limit": (1, "a task in one cluster's memory can be taken by no other"),
    "bulk": (1, "a task in one cluster's memory can be taken by no other"),
    "save_limit": (-1, "saving successes reads every earlier one each time"),
}


@register()
def check_cluster(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Q_CLUSTER must leave the retries to us and hold no tasks back."""
    cluster: dict[str, Any] = settings.Q_CLUSTER
    errors: list[CheckMessage] = [
        Error(
            f"Q_CLUSTER[{name!r}] is {cluster.get(name)!r} and must be {value!r}: {reason}.",
            id="replication.E001",
        )
        for name, (value, reason) in _REQUIRED.items()
        if cluster.get(name) != value
    ]
    if not 0 < cluster.get("timeout", 0) < cluster.get("retry", 0):
        errors.append(
            Error(
                "Q_CLUSTER: 'timeout' must be set and smaller than 'retry', else a loop that "
                "still runs is started a second time.",
                id="replication.E002",
            )
        )
    return errors
