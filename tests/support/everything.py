"""All that people configure and do, as rows to compare."""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model

MODELS: list[type[Model]] = [
    *apps.get_app_config("replication").get_models(),
    *(Group, Permission, Group.permissions.through),
]


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of our tables, and all users, groups and permissions."""
    rows = {
        model.__name__: list(model._default_manager.order_by("pk").values()) for model in MODELS
    }
    rows["User"] = [vars(user) | {"_state": None} for user in User.objects.order_by("pk")]
    for token in rows["ApiToken"]:
        del token["last_used_at"]
    return rows
