"""The operators' UI: one module for each noun, registered when Django discovers this package."""

from replication.admin import (
    api_tokens,
    audit,
    dead_letters,
    destinations,
    failures,
    heartbeats,
    jobs,
    notification_conditions,
    notification_targets,
    queues,
    rules,
    site,
    sources,
    users,
)

__all__ = [
    "api_tokens",
    "audit",
    "dead_letters",
    "destinations",
    "failures",
    "heartbeats",
    "jobs",
    "notification_conditions",
    "notification_targets",
    "queues",
    "rules",
    "site",
    "sources",
    "users",
]
