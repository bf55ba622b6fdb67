"""Users with the permission replay and delete dead letters; the message has the numbers."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from replication.models import AuditEntry, DeadLetter, Job
from tests.admin.pages import change_url, list_url, messages_of, run_action
from tests.support.story import Service


def a_letter(service: Service, number: int, *, bucket: str = "acme-photos") -> DeadLetter:
    """A dead letter that today's parser understands, unless `bucket` is empty."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": f"photos/{number}.jpg"}}
    record = {"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": s3}
    return DeadLetter.objects.create(
        queue=service.queue,
        message_id=f"message-{number}",
        body=json.dumps({"Records": [record]}),
        reason="the reason at that time",
        received_at=timezone.now(),
    )


def replay_url(letter: DeadLetter) -> str:
    return reverse("admin:replication_deadletter_replay", args=[letter.pk])


def client_who_may(*codenames: str) -> Client:
    user = User.objects.create_user("on-call", "", "on-call", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_replay_processes_the_selected_letters_and_reports_the_results(
    operator_client: Client, service: Service
) -> None:
    letters = [a_letter(service, number) for number in range(3)]
    letters += [a_letter(service, 3, bucket="without-a-rule"), a_letter(service, 4, bucket="")]
    left = a_letter(service, 5)
    response = run_action(operator_client, "deadletter", "replay", [row.pk for row in letters])
    assert messages_of(response) == (
        "4 dead letters were replayed and removed. 3 jobs are waiting. "
        "1 record names an object that no enabled rule matches. "
        "1 dead letter still can't be processed and was kept, with the new reason."
    )
    assert set(DeadLetter.objects.all()) == {letters[4], left}
    assert Job.objects.count() == 3


def test_a_letter_can_be_replayed_on_its_page(operator_client: Client, service: Service) -> None:
    letter = a_letter(service, 1)
    assert (
        replay_url(letter)
        in operator_client.get(change_url("deadletter", letter.pk)).content.decode()
    )
    response = operator_client.post(replay_url(letter), follow=True)
    assert messages_of(response) == "1 dead letter was replayed and removed. 1 job is waiting."
    assert response.redirect_chain[-1][0] == list_url("deadletter")
    again = operator_client.post(replay_url(letter), follow=True)
    assert messages_of(again) == "Nothing was replayed: the selected dead letters no longer exist."


def test_a_letter_of_one_record_names_its_number_and_is_replayed_alone(
    operator_client: Client, service: Service
) -> None:
    letter, whole = a_letter(service, 1), a_letter(service, 2)
    DeadLetter.objects.filter(pk=letter.pk).update(record=6)
    page = operator_client.get(list_url("deadletter")).content.decode()
    assert '<td class="field-record_number">6</td>' in page
    assert '<td class="field-record_number"><span class="nothing">–</span></td>' in page
    run_action(operator_client, "deadletter", "replay", [letter.pk])
    assert Job.objects.get().key == "photos/1.jpg"
    assert DeadLetter.objects.get() == whole
    assert AuditEntry.objects.get().about == "dead letters message-1, record 6"


def test_a_letter_that_still_fails_is_shown_with_its_new_reason(
    operator_client: Client, service: Service
) -> None:
    letter = a_letter(service, 1, bucket="")
    response = operator_client.post(replay_url(letter), follow=True)
    assert "1 dead letter still can't be processed and was kept" in messages_of(response)
    assert response.redirect_chain[-1][0] == change_url("deadletter", letter.pk)
    assert "bucket.name is missing or not text" in response.content.decode()


def test_a_get_request_does_not_replay_a_letter(operator_client: Client, service: Service) -> None:
    assert operator_client.get(replay_url(a_letter(service, 1))).status_code == 405
    assert DeadLetter.objects.exists()


def test_the_selected_letters_are_deleted_after_confirmation(
    operator_client: Client, service: Service
) -> None:
    letters = [a_letter(service, number) for number in range(3)]
    selected = {
        "action": "delete_selected",
        "_selected_action": [letter.pk for letter in letters[:2]],
    }
    page = operator_client.post(list_url("deadletter"), selected).content.decode()
    assert "Are you sure you want to delete the selected dead letters?" in page
    assert DeadLetter.objects.count() == 3
    response = operator_client.post(
        list_url("deadletter"), {**selected, "post": "yes"}, follow=True
    )
    assert messages_of(response) == "Successfully deleted 2 dead letters."
    assert DeadLetter.objects.get() == letters[2]


def test_a_viewer_may_neither_replay_nor_delete(viewer_client: Client, service: Service) -> None:
    letter = a_letter(service, 1)
    for action in ("replay", "delete_selected"):
        run_action(viewer_client, "deadletter", action, [letter.pk])
    page = viewer_client.get(change_url("deadletter", letter.pk)).content.decode()
    assert "Replay this dead letter" not in page
    assert "deletelink" not in page
    assert viewer_client.post(replay_url(letter)).status_code == 403
    assert DeadLetter.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("permission", "shown", "hidden"),
    [
        ("operate_deadletter", "replay", "delete_selected"),
        ("delete_deadletter", "delete_selected", "replay"),
    ],
)
def test_each_action_has_its_permission(
    service: Service, permission: str, shown: str, hidden: str
) -> None:
    a_letter(service, 1)
    client = client_who_may("view_deadletter", permission)
    page = client.get(list_url("deadletter")).content.decode()
    assert f'value="{shown}"' in page
    assert f'value="{hidden}"' not in page


def test_a_user_who_may_operate_letters_can_replay_but_not_edit_them(service: Service) -> None:
    letter = a_letter(service, 1)
    client = client_who_may("view_deadletter", "operate_deadletter")
    assert client.post(change_url("deadletter", letter.pk), {"body": "x"}).status_code == 403
    assert messages_of(client.post(replay_url(letter), follow=True)).startswith(
        "1 dead letter was replayed"
    )
