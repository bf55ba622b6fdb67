"""The Django application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ReplicationConfig(AppConfig):
    name = "replication"
    verbose_name = _("Replication")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from replication import checks  # noqa: F401, PLC0415 - the import registers the checks
        from replication.cluster.pickles import bar_pickles  # noqa: PLC0415 - models are loaded now
        from replication.operations import logins_audit  # noqa: F401, PLC0415 - and its receivers

        bar_pickles()
