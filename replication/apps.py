"""The Django application: registers the system checks, and starts the loops with the cluster."""

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ReplicationConfig(AppConfig):
    name = "replication"
    verbose_name = _("Replication")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_q.signals import post_spawn  # noqa: PLC0415 - needs loaded apps

        from replication import checks  # noqa: F401, PLC0415 - registers itself

        # django-q's schedule would start them too, but up to a minute later.
        post_spawn.connect(_start_loops, dispatch_uid="replication.start_loops")


def _start_loops(**_kwargs: Any) -> None:
    """In each new worker of the cluster; asking is idempotent while a loop waits."""
    from replication import loops  # noqa: PLC0415 - needs loaded apps

    loops.start()
