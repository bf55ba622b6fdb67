"""Lists and read-only pages that stay fast however many rows a table has."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from replication.admin.audited import Audited

MAX_LISTED = 10_000


class CappedCount(int):
    """A lower bound: counting stopped at this number."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class CappedPaginator(Paginator):
    """Counts and pages through the first `MAX_LISTED` rows only.

    Counting all rows would read all of them, and so would a jump to the last page.
    """

    @cached_property
    def count(self) -> int:
        rows: QuerySet = self.object_list  # type: ignore[assignment]
        found = rows.order_by()[: MAX_LISTED + 1].count()
        return found if found <= MAX_LISTED else CappedCount(MAX_LISTED)


class ReadOnlyAdmin(Audited, admin.ModelAdmin):
    """Shows rows that the service wrote; no user can edit them."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    change_form_template = "admin/replication/read_only.html"
    sortable_by = ()  # each list has one order, which an index serves

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class KeptForHistoryAdmin(Audited, admin.ModelAdmin):
    """Explains why a row with history can't be deleted.

    Django's own page would load and list every protected row, which may be millions of jobs.
    """

    history: str  # the related name of the rows that prevent the delete
    in_use_message: Any
    delete_confirmation_template = "admin/replication/in_use.html"

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        in_use = [obj for obj in objs if getattr(obj, self.history).exists()]
        if in_use:
            return [], {}, set(), [self.in_use_message % {"name": obj} for obj in in_use]
        return super().get_deleted_objects(objs, request)
