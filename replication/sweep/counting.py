"""Counts the objects of a rule that are there already, as far as a person waits for it."""

import threading
from dataclasses import dataclass

from replication.errors import ReplicationError
from replication.models import ReplicationRule
from replication.stores.factory import source_store
from replication.stores.listing import Listable, Unlistable

PAGES = 5
SECONDS = 2.0


@dataclass
class Counted:
    """How many objects were seen, and whether these are all. `error` says why none could be."""

    objects: int = 0
    are_all: bool = False
    error: str = ""


def count_objects(rule: ReplicationRule) -> Counted:
    """Count the objects of the rule, whose source is loaded, on the first PAGES of its listing and
    for at most SECONDS.
    """
    counted = Counted()
    # A daemon: a source that does not answer must hold up neither the caller nor a shutdown.
    counting = threading.Thread(target=_count, args=[rule, counted], daemon=True)
    counting.start()
    counting.join(SECONDS)
    return Counted(**vars(counted))  # the thread may go on with its own


def _count(rule: ReplicationRule, counted: Counted) -> None:
    try:
        store, after = source_store(rule.source), ""
        if not isinstance(store, Listable):
            counted.error = "A web server has no listing."
            return
        for _ in range(PAGES):
            page = store.list_page(prefix=rule.source_prefix, after=after)
            counted.objects += sum(map(rule.matches, page.keys))
            if not page.is_truncated:
                counted.are_all = True
                return
            after = page.keys[-1]
    except (ReplicationError, Unlistable) as error:
        counted.error = str(error)
