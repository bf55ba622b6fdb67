"""Dead letters: messages that no parser understood, whole, with the reason."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin.cells import ago, moment
from replication.admin.lists import ReadOnlyAdmin
from replication.models import DeadLetter


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "queue", "reason", "received")
    list_filter = ("queue",)
    list_select_related = ("queue",)
    fields = ("queue", "message_id", "received_when", "reason", "whole_body")
    readonly_fields = fields

    @admin.display(description=_("received"))
    def received(self, letter: DeadLetter) -> SafeString:
        return ago(letter.received_at)

    @admin.display(description=_("received"))
    def received_when(self, letter: DeadLetter) -> SafeString:
        return moment(letter.received_at)

    @admin.display(description=_("body"))
    def whole_body(self, letter: DeadLetter) -> SafeString:
        return format_html('<pre class="body" dir="ltr">{}</pre>', letter.body)
