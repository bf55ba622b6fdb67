"""Reads a listing page by page, one page ahead."""

from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import NamedTuple

from replication.stores.listing import (
    Listable,
    ListedObject,
    ListedPage,
    Unlistable,
    all_at_once,
)


class Progress(NamedTuple):
    """How far the reading of a listing came in a step."""

    pages: int
    keys: int
    bytes: int


class Unordered(Exception):
    """A side lists its keys in no order that can be followed."""

    def __init__(self, side: Listable, why: str) -> None:
        super().__init__(why)
        self.side = side


class Reader:
    """A listing that is read page by page; the next page is asked for while one is read.

    The objects from `position` to `end` of the page are still to be taken. `wanted_keys` are where
    their replicas belong; `etags` have MD5s in lower case, as S3 writes them.
    """

    def __init__(
        self,
        store: Listable,
        executor: Executor,
        *,
        prefix: str,
        after: str,
        until: str | None,
        wanted: Callable[[str], str] | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._prefix = prefix
        self._until = until
        self._wanted = wanted
        self._use(ListedPage.of([], is_truncated=True))
        self.ended = False
        self._pages = 0  # since the last step
        self._counted = 0  # of this page's objects
        self._next: Future[ListedPage] | None = self._ask(after)

    def _ask(self, after: str) -> Future[ListedPage]:
        return self._executor.submit(self._store.list_page, prefix=self._prefix, after=after)

    def _use(self, page: ListedPage) -> None:
        self.page, self.position, self.end, self._counted = page, 0, len(page.keys), 0
        wanted = self._wanted
        self.wanted_keys = page.keys if wanted is None else [wanted(key) for key in page.keys]
        self.etags = all_at_once(str.lower, page.etags)

    @property
    def is_exhausted(self) -> bool:
        return self.position >= self.end

    def load(self) -> None:
        """Read the next page, if this one is used up and more follow.

        Raises:
            Unordered: see there.
            ReplicationError: see `list_page` of the stores.
        """
        if not self.is_exhausted or self._next is None:
            return
        try:
            page = self._next.result()
        except Unlistable as error:
            raise Unordered(self._store, str(error)) from error
        self._pages += 1
        self._use(page)
        self.ended = not page.is_truncated
        if self._until is not None and page.keys and page.keys[-1] >= self._until:
            self.ended = True
            self.end = bisect_right(page.keys, self._until)
        self._next = None if self.ended else self._ask(page.keys[-1])

    def end_at(self, until: str) -> None:
        """End the listing at this key, which is after all that was taken."""
        self._until = until
        end = bisect_right(self.page.keys, until, self.position, self.end)
        if self._next is None or end < self.end:
            self._next, self.ended = None, True
        self.end = end

    def take_rest(self) -> list[ListedObject]:
        rest = [self.page.object_at(index) for index in range(self.position, self.end)]
        self.position = self.end
        return rest

    def last_taken(self) -> str | None:
        """The last key of this page that was taken."""
        return self.page.keys[self.position - 1] if self.position else None

    def progress(self) -> Progress:
        """How far it has come since the last call, which must be before the next `load`."""
        since, self._counted = self._counted, self.position
        pages, self._pages = self._pages, 0
        sizes = self.page.sizes[since : self.position]
        return Progress(pages, len(sizes), sum(sizes))
