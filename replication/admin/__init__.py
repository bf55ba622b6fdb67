"""The operators' UI: one module for each noun, registered when Django discovers this package."""

from replication.admin import (
    dead_letters,
    destinations,
    failures,
    heartbeats,
    jobs,
    queues,
    rules,
    site,
    sources,
)

__all__ = [
    "dead_letters",
    "destinations",
    "failures",
    "heartbeats",
    "jobs",
    "queues",
    "rules",
    "site",
    "sources",
]
