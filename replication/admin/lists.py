"""Lists that stay fast, and read-only pages, whatever number of rows a table has."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from replication.admin.audited import Audited

MAX_LISTED = 10_000


class CappedCount(int):
    """So many at least: it was not counted further."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class CappedPaginator(Paginator):
    """Counts, and pages through, the first `MAX_LISTED` rows only.

    A count of all rows reads them all, and so does the jump to the last page.
    """

    @cached_property
    def count(self) -> int:
        rows: QuerySet = self.object_list  # type: ignore[assignment]
        found = rows.order_by()[: MAX_LISTED + 1].count()
        return found if found <= MAX_LISTED else CappedCount(MAX_LISTED)


class ReadOnlyAdmin(Audited, admin.ModelAdmin):
    """Shows what the service wrote; nobody edits it."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    change_form_template = "admin/replication/read_only.html"
    sortable_by = ()  # each list has the one order that an index serves

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class KeptForHistoryAdmin(Audited, admin.ModelAdmin):
    """Says in words why a row with history can't be deleted.

    Without it, Django's page would load and list every protected row, jobs by the million.
    """

    history: str  # the related name of what a row is kept for
    in_use_message: Any
    delete_confirmation_template = "admin/replication/in_use.html"

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        in_use = [obj for obj in objs if getattr(obj, self.history).exists()]
        if in_use:
            return [], {}, set(), [self.in_use_message % {"name": obj} for obj in in_use]
        return super().get_deleted_objects(objs, request)
