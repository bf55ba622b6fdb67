"""Uploads to abort: unfinished uploads that no job will complete, until OSS confirms their end."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from replication.admin import cells
from replication.admin.lists import ReadOnlyAdmin
from replication.jobs import aborting
from replication.models import UploadToAbort


@admin.register(UploadToAbort)
class UploadToAbortAdmin(ReadOnlyAdmin):
    list_display = ("key_cell", "bucket", "noted", "tries", "cause", "next_try")
    ordering = ("next_try_at",)  # served by the index upload_to_abort_due
    fields = (
        *("key_cell", "bucket", "endpoint", "credential_profile", "upload_id"),
        *("noted", "tries", "next_try", "cause", "hint", "error_detail"),
    )
    readonly_fields = fields
    # A person who has aborted an upload in OSS's console deletes its row.
    actions = ("delete_selected",)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("replication.delete_uploadtoabort")

    @admin.display(description=_("key at the destination"))
    def key_cell(self, upload: UploadToAbort) -> SafeString:
        return cells.short_key(upload.destination_key)

    @admin.display(description=_("noted"))
    def noted(self, upload: UploadToAbort) -> SafeString:
        return cells.ago(upload.noted_at)

    @admin.display(description=_("cause"))
    def cause(self, upload: UploadToAbort) -> str:
        return upload.error.cause if upload.error else cells.NOTHING

    @admin.display(description=_("what to do"))
    def hint(self, upload: UploadToAbort) -> str:
        return upload.error.hint if upload.error else cells.NOTHING

    @admin.display(description=_("next try"))
    def next_try(self, upload: UploadToAbort) -> SafeString:
        return cells.ago(aborting.due_at(upload))
