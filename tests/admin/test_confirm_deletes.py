"""The page that shows held deletes: what it shows can be confirmed, and nothing else."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from replication.admin import confirm_deletes
from replication.models import AuditEntry, DeletePolicy, ReplicationRule
from replication.operations import confirmations
from tests.admin.pages import change_url, list_url
from tests.support.held import confirmed_keys, held_keys, hold, hold_many
from tests.support.road import Road, work
from tests.support.story import Service

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rule(service: Service) -> ReplicationRule:
    ReplicationRule.objects.filter(pk=service.rule.pk).update(max_deletes_per_hour=10)
    service.rule.refresh_from_db()
    return service.rule


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deletes a batch, two batches a step."""
    monkeypatch.setattr(confirmations, "BATCH", 2)
    monkeypatch.setattr(confirmations, "BATCHES_PER_STEP", 2)


def page_url(rule: ReplicationRule) -> str:
    return reverse("admin:replication_replicationrule_confirm_deletes", args=[rule.pk])


def csv_url(rule: ReplicationRule) -> str:
    return reverse("admin:replication_replicationrule_held_deletes_csv", args=[rule.pk])


def see(client: Client, rule: ReplicationRule) -> tuple[str, str]:
    """What an operator sees on the page, and what its form carries."""
    answer = client.get(page_url(rule))
    assert answer.status_code == 200
    return answer.content.decode(), answer.context["seen"]


def confirm(client: Client, rule: ReplicationRule, seen: str, **fields: str) -> Any:
    return client.post(page_url(rule), {"seen": seen} | fields, follow=True)


def is_braked(rule: ReplicationRule) -> bool:
    rule.refresh_from_db()
    return rule.braked_at is not None


# -- from the source to the replica ------------------------------------------------------------


def test_thirty_nine_deletes_that_no_page_showed_are_not_confirmed_with_the_one_that_it_showed(
    make_road: Callable[..., Road], admin_client: Client
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR, max_deletes_per_hour=0)
    keys = [f"{number}" for number in range(40)]
    for key in keys:
        road.put(key)
    work()
    road.s3.delete_object(Bucket=road.source.bucket, Key=keys[0])
    work()
    page, seen = see(admin_client, road.rule)
    assert "Delete 1 replica in" in page
    for key in keys[1:]:
        road.s3.delete_object(Bucket=road.source.bucket, Key=key)
    work()

    page = confirm(admin_client, road.rule, seen).content.decode()
    assert "39 more deletes were held since you opened the page" in page
    assert "Delete 40 replicas in" in page
    work()
    assert [key for key in keys if road.replica(key) is None] == []

    _, seen = see(admin_client, road.rule)
    page = confirm(admin_client, road.rule, seen).content.decode()
    assert "40 deletes were confirmed and continue" in page
    work()
    assert [key for key in keys if road.replica(key) is not None] == []
    assert not is_braked(road.rule)


# -- what the page shows -----------------------------------------------------------------------


def test_the_page_shows_count_age_cause_prefixes_and_keys(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, *(f"photos/2019/{number}.jpg" for number in range(30)), "photos/tmp/<b>.jpg")
    page, _ = see(operator_client, rule)
    assert "Delete 31 replicas in photos-hangzhou?" in page
    assert (
        "More objects were deleted in photos-hongkong than the rule allows: 10 in an hour." in page
    )
    assert "Nothing more is deleted in photos-hangzhou until you confirm." in page
    assert re.search(r"the first <time.*?, the last <time", page, re.DOTALL)
    assert "20 of 31, oldest first" in page
    assert "photos/2019/0.jpg" in page
    assert "photos/2019/20.jpg" not in page
    counts = re.findall(r'<td class="number">([\d,]+)</td>', page)
    assert counts == ["30", "1"]
    assert "photos/tmp/<b>.jpg" not in page
    assert "id_typed" not in page


def test_prefixes_that_have_no_room_are_counted_together(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold_many(rule, 1001, key="'photos/' || n %% 13 || '/' || n")
    page, _ = see(operator_client, rule)
    counts = [int(count) for count in re.findall(r'<td class="number">([\d,]+)</td>', page)]
    assert len(counts) == confirm_deletes.MAX_PREFIXES + 1
    assert sum(counts) == 1001
    assert "others" in page


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_deletes_per_hour": 10}, "10 in an hour"),
        (
            {"max_deletes_per_hour": 10, "max_delete_percent": 5},
            "10 in an hour, or 5% of an hour's jobs",
        ),
        ({"max_deletes_per_hour": None}, "its limit was removed since"),
    ],
)
def test_the_page_names_the_limits_of_the_rule(
    operator_client: Client, rule: ReplicationRule, limits: dict[str, int | None], words: str
) -> None:
    ReplicationRule.objects.update(**limits)
    hold(rule, "a")
    page, _ = see(operator_client, rule)
    assert escape(words) in page


def test_the_page_says_what_confirming_does_where_the_rule_is_paused_or_keeps_replicas(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, "a")
    ReplicationRule.objects.update(paused_at=Now(), delete_policy=DeletePolicy.KEEP)
    page, _ = see(operator_client, rule)
    assert "Confirmed deletes will wait until you enable or resume the rule." in page
    assert "Confirmed deletes will end without deleting anything." in page


def test_more_than_the_page_can_show_are_confirmed_in_portions(
    operator_client: Client, rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (confirm_deletes, confirmations, confirm_deletes.held_deletes):
        monkeypatch.setattr(module, "MAX_SHOWN", 30)
    hold_many(rule, 65)
    page, seen = see(operator_client, rule)
    assert "More than 30 deletes are held." in page
    assert "Delete 30 replicas" in page
    page = confirm(operator_client, rule, seen).content.decode()
    assert "30 deletes were confirmed" in page
    assert "30+ further deletes are held, and were not confirmed." in page
    assert len(held_keys(rule)) == 35


def test_a_rule_without_held_deletes_has_nothing_to_confirm(
    operator_client: Client, rule: ReplicationRule
) -> None:
    page, _ = see(operator_client, rule)
    assert "There is nothing to confirm." in page
    assert 'id="decide"' not in page


def test_a_braked_rule_whose_deletes_do_not_wait_any_longer_may_delete_again(
    operator_client: Client, rule: ReplicationRule
) -> None:
    ReplicationRule.objects.update(braked_at=Now())
    page, seen = see(operator_client, rule)
    assert "Let the rule delete again" in page
    assert "0 deletes were confirmed" in confirm(operator_client, rule, seen).content.decode()
    assert not is_braked(rule)


def test_the_page_of_a_braked_rule_leads_to_its_held_deletes(
    operator_client: Client, viewer_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, "a")
    rule_url = change_url("replicationrule", rule.pk)
    page = operator_client.get(rule_url).content.decode()
    assert "Deletes that wait: 1." in page
    assert f'href="{page_url(rule)}"' in page
    assert f'href="{page_url(rule)}"' not in viewer_client.get(rule_url).content.decode()


# -- what is refused ---------------------------------------------------------------------------


def test_above_a_thousand_the_number_must_be_typed(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold_many(rule, 1001)
    page, seen = see(operator_client, rule)
    assert "To confirm, type the number 1,001:" in page
    for typed in ("", "1000", "1001x", "-1001", "yes", "١٠٠١"):
        page = confirm(operator_client, rule, seen, typed=typed).content.decode()
        assert "the number that you typed is not the number of deletes" in page, typed
    assert len(held_keys(rule)) == 1001
    assert not AuditEntry.objects.exists()
    page = confirm(operator_client, rule, seen, typed=" 1,001 ").content.decode()
    assert "1,001 deletes were confirmed" in page


def test_what_no_page_of_the_rule_has_shown_can_not_be_confirmed(
    operator_client: Client, service: Service, rule: ReplicationRule
) -> None:
    hold(rule, "a")
    hold(service.other_rule, "b")
    _, of_another = see(operator_client, service.other_rule)
    _, seen = see(operator_client, rule)
    for forged in ("", "1", seen[:-1], seen.replace(":", ".", 1), of_another):
        page = confirm(operator_client, rule, forged).content.decode()
        assert "the form was not one of this page" in page, forged
    assert held_keys(rule) == {"a"}


def test_an_address_of_another_rule_or_a_forged_one_is_not_found(
    operator_client: Client, service: Service, rule: ReplicationRule, small_steps: None
) -> None:
    hold(rule, *"abcdefgh")
    _, seen = see(operator_client, rule)
    address = operator_client.post(page_url(rule), {"seen": seen}).url
    other = address.replace(f"/{rule.pk}/", f"/{service.other_rule.pk}/")
    for forged in (other, f"{page_url(rule)}{seen}/", f"{page_url(rule)}x/"):
        assert operator_client.post(forged).status_code == 404
    assert operator_client.get(csv_url(rule), {"seen": "x"}).status_code == 404


def test_only_a_user_who_may_operate_rules_sees_and_confirms(
    operator_client: Client, viewer_client: Client, rule: ReplicationRule, small_steps: None
) -> None:
    hold(rule, *"abcdefgh")
    _, seen = see(operator_client, rule)
    address = operator_client.post(page_url(rule), {"seen": seen}).url
    for refused in (
        viewer_client.get(page_url(rule)),
        viewer_client.post(page_url(rule), {"seen": seen}),
        viewer_client.get(address),
        viewer_client.post(address),
        viewer_client.get(csv_url(rule)),
    ):
        assert refused.status_code == 403
    for url in (page_url(rule), address, csv_url(rule)):
        assert Client().get(url).status_code == 302
    assert len(held_keys(rule)) == 4

    user = User.objects.create_user("on-call", "", "on-call", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="operate_replicationrule"))
    on_call = Client()
    on_call.force_login(user)
    _, seen = see(on_call, rule)
    confirm(on_call, rule, seen)
    assert held_keys(rule) == set()
    assert AuditEntry.objects.latest("pk").actor == "on-call"


def test_the_list_of_rules_has_no_action_that_confirms_unseen(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, "a")
    page = operator_client.get(list_url("replicationrule")).content.decode()
    assert "deletes braked" in page
    assert 'value="confirm_deletes"' not in page


# -- steps without a script --------------------------------------------------------------------


def test_without_a_script_a_button_goes_on_to_the_end(
    operator_client: Client, rule: ReplicationRule, small_steps: None
) -> None:
    hold(rule, *"abcdefghij")
    _, seen = see(operator_client, rule)
    answer = confirm(operator_client, rule, seen)
    said = []
    while ">Go on</button>" in (page := answer.content.decode()):
        said += re.findall(r"\d+ of \d+ deletes are confirmed", page)
        hold(rule, f"later {len(said)}")
        answer = operator_client.post(answer.request["PATH_INFO"], follow=True)
    assert said == ["4 of 10 deletes are confirmed", "8 of 10 deletes are confirmed"]
    assert "10 deletes were confirmed and continue." in page
    assert "2 further deletes are held, and were not confirmed." in page
    assert confirmed_keys(rule) == set("abcdefghij")
    assert held_keys(rule) == {"later 1", "later 2"}
    assert is_braked(rule)


def test_the_end_says_that_the_rule_deletes_again_and_may_be_loaded_anew(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, "a")
    _, seen = see(operator_client, rule)
    answer = confirm(operator_client, rule, seen)
    for page in (answer, operator_client.get(answer.request["PATH_INFO"])):
        assert "1 delete was confirmed and continues." in page.content.decode()
        assert "The rule deletes again" in page.content.decode()
    assert AuditEntry.objects.count() == 1


# -- the list as CSV ---------------------------------------------------------------------------

KEYS = [
    "photos/a.jpg",
    '=HYPERLINK("http://example.com","x")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'quoted",
    "'=1",
    'a,"b";c\r\nd\u2028e',
    "客户/归档.tif",
    " space ",
    "a+b%20c",
]


def rows_of(client: Client, url: str) -> list[dict[str, str]]:
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_list_has_the_exact_keys_and_no_formula(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, *KEYS)
    rows = rows_of(operator_client, csv_url(rule))
    assert [unquote(row["key_url_encoded"]) for row in rows] == KEYS
    assert [row["key"].removeprefix("'") for row in rows] == KEYS
    for row in rows:
        assert not any(value.startswith(tuple("=+-@\t\r\n＝＋－＠")) for value in row.values())
    assert {row["reason"] for row in rows} == {"brake"}
    assert all(row["change_announced_at"] and row["held_at"] for row in rows)


def test_the_list_of_a_page_has_what_the_page_showed(
    operator_client: Client, rule: ReplicationRule
) -> None:
    hold(rule, "a", "b")
    page, _ = see(operator_client, rule)
    hold(rule, "c")
    [link] = re.findall(r'href="([^"]+\.csv[^"]*)"', page)
    assert [row["key"] for row in rows_of(operator_client, link)] == ["a", "b"]
    assert [row["key"] for row in rows_of(operator_client, csv_url(rule))] == ["a", "b", "c"]


def test_the_list_is_sent_page_by_page(
    operator_client: Client, rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm_deletes.held_deletes, "PAGE", 10)
    hold_many(rule, 95)
    answer = operator_client.get(csv_url(rule))
    assert answer.streaming
    rows = rows_of(operator_client, csv_url(rule))
    assert {row["key"] for row in rows} == held_keys(rule)
    assert len(rows) == 95
