"""Sweeps: a list, and a live page of each, on which a person pauses, limits and ends it."""

import csv
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from replication.admin import cells
from replication.admin.audited import actor_of
from replication.admin.lists import ReadOnlyAdmin
from replication.admin.sweep_forms import LimitsForm
from replication.admin.sweep_page import context_of, state_badge
from replication.models import Sweep
from replication.operations import sweeps
from replication.sweep import reporting


@admin.action(description=gettext_lazy("Pause the selected sweeps"), permissions=["operate"])
def pause(model_admin: Any, request: HttpRequest, queryset: QuerySet[Sweep]) -> None:
    done = sweeps.pause(queryset, by=actor_of(request))
    text = ngettext("%d sweep was paused.", "%d sweeps were paused.", done) % done
    _tell(request, done, text, otherwise=_("No sweep was paused: none of them runs."))


@admin.action(description=gettext_lazy("Resume the selected sweeps"), permissions=["operate"])
def resume(model_admin: Any, request: HttpRequest, queryset: QuerySet[Sweep]) -> None:
    done = sweeps.resume(queryset, by=actor_of(request))
    text = ngettext("%d sweep goes on.", "%d sweeps go on.", done) % done
    _tell(
        request,
        done,
        text,
        otherwise=_(
            "No sweep was resumed: none of them is paused or failed, or a newer sweep of the rule "
            "is under way."
        ),
    )


@admin.action(description=gettext_lazy("Cancel the selected sweeps"), permissions=["operate"])
def cancel(model_admin: Any, request: HttpRequest, queryset: QuerySet[Sweep]) -> None:
    done = sweeps.cancel(queryset, by=actor_of(request))
    text = ngettext("%d sweep was cancelled.", "%d sweeps were cancelled.", done) % done
    text = f"{text} {_('The jobs that it has made go on; cancel them in the list of jobs.')}"
    _tell(request, done, text, otherwise=_("No sweep was cancelled: they are over already."))


def _tell(request: HttpRequest, done: int, text: str, *, otherwise: str) -> None:
    level = messages.SUCCESS if done else messages.WARNING
    messages.add_message(request, level, text if done else otherwise)


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = (
        *("name", "state_badge", "began", "ended", "keys", "equal_keys"),
        *("missing_keys", "different_keys", "extra_keys", "lost_changes", "jobs"),
    )
    list_filter = ("kind", "state", "rule")
    list_select_related = ("rule",)
    ordering = ("-pk",)
    actions = (pause, resume, cancel)
    fields = ()
    change_form_template = "admin/replication/sweep.html"

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_sweep")

    # -- the list ------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("sweep"))
    def name(self, sweep: Sweep) -> str:
        return str(sweep)

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, sweep: Sweep) -> SafeString:
        return state_badge(sweep)

    @admin.display(description=gettext_lazy("began"))
    def began(self, sweep: Sweep) -> SafeString:
        return cells.ago(sweep.began_at)

    @admin.display(description=gettext_lazy("ended"))
    def ended(self, sweep: Sweep) -> SafeString:
        return cells.ago(sweep.ended_at)

    @admin.display(description=gettext_lazy("keys"))
    def keys(self, sweep: Sweep) -> str:
        return f"{sweep.source_keys:,}"

    @admin.display(description=gettext_lazy("equal"))
    def equal_keys(self, sweep: Sweep) -> str:
        return f"{sweep.equal:,}"

    @admin.display(description=gettext_lazy("missing"))
    def missing_keys(self, sweep: Sweep) -> str:
        return f"{sweep.missing:,}"

    @admin.display(description=gettext_lazy("different"))
    def different_keys(self, sweep: Sweep) -> str:
        return f"{sweep.different:,}"

    @admin.display(description=gettext_lazy("extra"))
    def extra_keys(self, sweep: Sweep) -> str:
        return f"{sweep.extra:,}"

    @admin.display(description=gettext_lazy("lost"))
    def lost_changes(self, sweep: Sweep) -> str:
        return f"{sweep.lost:,}"

    @admin.display(description=gettext_lazy("jobs"))
    def jobs(self, sweep: Sweep) -> str:
        return f"{sweep.ordered:,}"

    # -- one sweep -----------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sweep]:
        return super().get_queryset(request).select_related("rule__source", "rule__destination")

    def get_urls(self) -> list[URLPattern]:
        pages: list[tuple[str, Callable[..., HttpResponse | StreamingHttpResponse], str]] = [
            ("pause/", partial(self.operate_view, action=pause), "pause"),
            ("resume/", partial(self.operate_view, action=resume), "resume"),
            ("cancel/", partial(self.operate_view, action=cancel), "cancel"),
            ("limits/", self.limits_view, "limits"),
            ("report.json", self.report_view, "report"),
            ("findings.csv", self.findings_view, "findings_csv"),
        ]
        return [
            *(
                path(
                    f"<int:sweep_id>/{place}",
                    self.admin_site.admin_view(view),
                    name=f"replication_sweep_{name}",
                )
                for place, view, name in pages
            ),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        sweep: Sweep = context["original"]
        context |= context_of(sweep)
        context["may_operate"] = self.has_operate_permission(request)
        context["limits"] = LimitsForm(instance=sweep)
        return super().render_change_form(request, context, *args, **options)

    @method_decorator(require_POST)
    def operate_view(
        self, request: HttpRequest, sweep_id: int, action: Callable[..., None]
    ) -> HttpResponse:
        """Run the list's action for the sweep of this page."""
        action(self, request, self._operable(request, sweep_id))
        return redirect("admin:replication_sweep_change", sweep_id)

    @method_decorator(require_POST)
    def limits_view(self, request: HttpRequest, sweep_id: int) -> HttpResponse:
        """Change the rate, the window and the budget of the sweep of this page."""
        chosen = self._operable(request, sweep_id)
        form = LimitsForm(request.POST, instance=get_object_or_404(chosen))
        if form.is_valid():
            done = sweeps.limit(chosen, by=actor_of(request), **form.limits)
            text = _("The limits were changed. They hold from the next pages on.")
            _tell(request, done, text, otherwise=_("Nothing was changed: the sweep is over."))
        for name, errors in form.errors.items():
            messages.error(request, f"{form.fields[name].label}: {' '.join(map(str, errors))}")
        return redirect("admin:replication_sweep_change", sweep_id)

    def _operable(self, request: HttpRequest, sweep_id: int) -> QuerySet[Sweep]:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        return Sweep.objects.filter(pk=sweep_id)

    @method_decorator(require_safe)
    def report_view(self, request: HttpRequest, sweep_id: int) -> HttpResponse:
        """The report as a file, as `manage.py sweeps --report` prints it."""
        return JsonResponse(
            reporting.as_json(self._viewable(request, sweep_id)),
            json_dumps_params={"indent": 2, "ensure_ascii": False},
            headers=_attached(f"s3sync-sweep-{sweep_id}.json"),
        )

    @method_decorator(require_safe)
    def findings_view(self, request: HttpRequest, sweep_id: int) -> StreamingHttpResponse:
        """The findings as a file, as `manage.py sweeps --findings` prints them."""
        return StreamingHttpResponse(
            _lines(self._viewable(request, sweep_id)),
            content_type="text/csv; charset=utf-8",
            headers=_attached(f"s3sync-sweep-{sweep_id}.csv"),
        )

    def _viewable(self, request: HttpRequest, sweep_id: int) -> Sweep:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(self.get_queryset(request), pk=sweep_id)


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


class _Line:
    """A file for csv.writer that returns each line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def _lines(sweep: Sweep) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(reporting.CSV_FIELDS)
    for row in reporting.findings_as_rows(sweep):
        yield writer.writerow(row)
