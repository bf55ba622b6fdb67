"""Dead letters: records and messages that could not be processed, with the reason."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from replication.admin.audited import actor_of
from replication.admin.cells import NOTHING, ago, moment
from replication.admin.lists import ReadOnlyAdmin
from replication.models import DeadLetter
from replication.operations import actions


@admin.action(description=gettext_lazy("Replay the selected dead letters"), permissions=["replay"])
def replay(model_admin: Any, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
    replayed = actions.replay(queryset, by=actor_of(request))
    sentences = []
    if replayed.letters:
        sentences += [
            ngettext(
                "%d dead letter was replayed and removed.",
                "%d dead letters were replayed and removed.",
                replayed.letters,
            )
            % replayed.letters,
            ngettext("%d job is waiting.", "%d jobs are waiting.", replayed.jobs) % replayed.jobs,
        ]
    if replayed.unmatched:
        sentences.append(
            ngettext(
                "%d record names an object that no enabled rule matches.",
                "%d records name objects that no enabled rule matches.",
                replayed.unmatched,
            )
            % replayed.unmatched
        )
    if replayed.still_unparseable:
        sentences.append(
            ngettext(
                "%d dead letter still can't be processed and was kept, with the new reason.",
                "%d dead letters still can't be processed and were kept, with the new reasons.",
                replayed.still_unparseable,
            )
            % replayed.still_unparseable
        )
    messages.add_message(
        request,
        messages.SUCCESS if replayed.letters else messages.WARNING,
        " ".join(sentences)
        or _("Nothing was replayed: the selected dead letters no longer exist."),
    )


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "record_number", "queue", "reason", "received")
    list_filter = ("queue",)
    list_select_related = ("queue",)
    actions = (replay, "delete_selected")
    fields = ("queue", "message_id", "record_number", "received_when", "reason", "whole_body")
    readonly_fields = fields
    change_form_template = "admin/replication/dead_letter.html"

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("replication.operate_deadletter")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("replication.delete_deadletter")

    @admin.display(description=gettext_lazy("record"))
    def record_number(self, letter: DeadLetter) -> SafeString | int:
        """The record's number in the message, from 0, as in Records[0]."""
        return NOTHING if letter.record is None else letter.record

    @admin.display(description=gettext_lazy("received"))
    def received(self, letter: DeadLetter) -> SafeString:
        return ago(letter.received_at)

    @admin.display(description=gettext_lazy("received"))
    def received_when(self, letter: DeadLetter) -> SafeString:
        return moment(letter.received_at)

    @admin.display(description=gettext_lazy("body"))
    def whole_body(self, letter: DeadLetter) -> SafeString:
        return format_html('<pre class="body" dir="ltr">{}</pre>', letter.body)

    # -- one dead letter -----------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.replay_view)
        name = "replication_deadletter_replay"
        return [path("<int:letter_id>/replay/", view, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"may_replay": self.has_replay_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @method_decorator(require_POST)
    def replay_view(self, request: HttpRequest, letter_id: int) -> HttpResponse:
        """Run the list's action for the dead letter of this page."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        letter = DeadLetter.objects.filter(pk=letter_id)
        replay(self, request, letter)
        if letter.exists():
            return redirect("admin:replication_deadletter_change", letter_id)
        return redirect("admin:replication_deadletter_changelist")
