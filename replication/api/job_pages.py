"""Pages of jobs, newest first, each of which reads few rows however many there are.

No page counts anything. Where rows of one rule would have to be looked for among all jobs there
ever were, a page looks through so many at most, and says where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Max, Min, Q, QuerySet

from replication.api.cursors import Cursor, read_cursor
from replication.models import FINAL_STATES, JobState, TransferJob

# Some tens of milliseconds.
MAX_LOOKED_THROUGH = 50_000


@dataclass(frozen=True)
class JobFilter:
    """Which jobs; empty is any."""

    state: JobState | None = None
    rule_id: int | None = None
    error: str = ""
    prefix: str = ""

    @property
    def is_by_end(self) -> bool:
        """Whether an index has the jobs by their end; else they are listed by id."""
        return self.state in FINAL_STATES

    @property
    def is_a_search(self) -> bool:
        """Whether no index leads to the jobs, so that they are looked for among others."""
        return (
            self.state in {None, JobState.COMPLETED}
            and bool(self.rule_id or self.error)
            and not self.prefix
        )

    def apply(self, jobs: QuerySet[TransferJob]) -> QuerySet[TransferJob]:
        """Those of the jobs that it asks for."""
        if self.state:
            jobs = jobs.filter(state=self.state)
        if self.rule_id:
            jobs = jobs.filter(rule=self.rule_id)
        if self.error:
            jobs = jobs.filter(error_code=self.error)
        if self.prefix:
            jobs = jobs.filter(key__startswith=self.prefix)
        return jobs


@dataclass(frozen=True)
class Page:
    """Some jobs; `next_cursor` is empty at the end. A search may find none, and yet go on."""

    jobs: Sequence[TransferJob]
    next_cursor: str


def read_page(wanted: JobFilter, *, cursor: str, limit: int) -> Page:
    """Read `limit` jobs at most.

    Raises:
        Refused: 422 for a cursor that is not of this list.
    """
    jobs = TransferJob.objects.select_related("rule")
    behind = read_cursor(cursor, has_time=wanted.is_by_end) if cursor else None
    if behind:
        jobs = _behind(jobs, behind)
    floor = _floor(wanted, behind) if wanted.is_a_search else None
    if floor:
        jobs = (
            jobs.filter(finalized_at__gte=floor.at) if floor.at else jobs.filter(id__gte=floor.id)
        )
    order = ("-finalized_at", "-id") if wanted.is_by_end else ("-id",)
    found = list(wanted.apply(jobs).order_by(*order)[: limit + 1])
    if len(found) > limit:
        last = found[limit - 1]
        end = Cursor(last.finalized_at if wanted.is_by_end else None, last.pk)
        return Page(found[:limit], str(end))
    return Page(found, str(floor) if floor else "")


def _behind(jobs: QuerySet[TransferJob], cursor: Cursor) -> QuerySet[TransferJob]:
    if cursor.at is None:
        return jobs.filter(id__lt=cursor.id)
    # The first condition is the index's; the second is for those of the same moment.
    return jobs.filter(
        Q(finalized_at__lte=cursor.at), Q(finalized_at__lt=cursor.at) | Q(id__lt=cursor.id)
    )


def _floor(wanted: JobFilter, behind: Cursor | None) -> Cursor | None:
    """Where a search has to end; None if it may go to the end."""
    if not wanted.is_by_end:
        ids = TransferJob.objects.aggregate(oldest=Min("id"), newest=Max("id"))
        if ids["newest"] is None:
            return None
        lowest: int = (behind.id if behind else ids["newest"] + 1) - MAX_LOOKED_THROUGH
        return Cursor(None, lowest) if lowest > ids["oldest"] else None
    ended = TransferJob.objects.filter(state=wanted.state)
    if behind:
        ended = ended.filter(finalized_at__lte=behind.at)
    # An index has it, without a look at the table.
    ends = ended.order_by("-finalized_at").values_list("finalized_at", flat=True)
    last_end = next(iter(ends[MAX_LOOKED_THROUGH : MAX_LOOKED_THROUGH + 1]), None)
    return Cursor(last_end, 0) if last_end else None
