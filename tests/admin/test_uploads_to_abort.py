"""The list of uploads to abort says what is wrong and what to do, and lets an operator end it."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from replication.errors import MEANINGS, ErrorCode
from replication.jobs import aborting
from replication.models import AuditEntry, UploadToAbort
from tests.admin.pages import change_url, list_url, run_action
from tests.support.story import make_upload_to_abort

pytestmark = pytest.mark.django_db


def test_the_list_shows_cause_and_next_try_and_the_page_what_to_do(operator_client: Client) -> None:
    upload = make_upload_to_abort("photos/a.mp4")
    meaning = MEANINGS[ErrorCode.DESTINATION_ACCESS_DENIED]
    listed = operator_client.get(list_url("uploadtoabort")).content.decode()
    assert "photos/a.mp4" in listed
    assert meaning.cause in listed
    page = operator_client.get(change_url("uploadtoabort", upload.pk)).content.decode()
    assert escape(meaning.hint) in page
    assert escape(upload.error_detail) in page
    assert upload.upload_id in page


def test_an_upload_that_was_not_tried_yet_shows_when_it_will_be(operator_client: Client) -> None:
    now = timezone.now()
    make_upload_to_abort(
        "a", tries=0, error_code="", error_detail="", noted_at=now, next_try_at=now
    )
    listed = operator_client.get(list_url("uploadtoabort")).content.decode()
    assert f'datetime="{(now + aborting.settles_after()).isoformat()}"' in listed


def test_an_operator_deletes_a_row_which_the_audit_records(operator_client: Client) -> None:
    upload = make_upload_to_abort("a")
    selected = {
        "action": "delete_selected",
        "_selected_action": [upload.pk],
        "post": "yes",
    }
    operator_client.post(list_url("uploadtoabort"), selected)
    assert not UploadToAbort.objects.exists()
    assert "upload to abort a" in AuditEntry.objects.get().about


def test_a_viewer_may_not_delete(viewer_client: Client) -> None:
    upload = make_upload_to_abort("a", noted_at=timezone.now() - timedelta(days=1))
    run_action(viewer_client, "uploadtoabort", "delete_selected", [upload.pk])
    assert viewer_client.get(change_url("uploadtoabort", upload.pk)).status_code == 200
    assert UploadToAbort.objects.exists()
