"""The operators' pages, a module for each kind of object. Importing this package registers them."""

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
    sweeps,
    uploads_to_abort,
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
    "sweeps",
    "uploads_to_abort",
    "users",
]
