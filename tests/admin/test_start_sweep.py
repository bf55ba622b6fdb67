"""A sweep is started on the page of its rule, and a backfill is offered for a new rule."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from replication.models import (
    AuditAction,
    AuditEntry,
    DeletePolicy,
    ReplicationRule,
    Source,
    SourceKind,
    Sweep,
    SweepKind,
    SweepLevel,
)
from replication.stores.s3.store import S3Store
from replication.sweep import counting, lifecycle
from tests.admin.pages import add_url, change_url, messages_of
from tests.admin.test_collisions import filled_in
from tests.support.road import Road
from tests.support.story import Service

START = {"purpose": "backfill", "level": "listing", "settle_minutes": "15"}


def url_of(rule: ReplicationRule) -> str:
    return reverse("admin:replication_replicationrule_sweep", args=[rule.pk])


def start(client: Client, rule: ReplicationRule, **form: str) -> Any:
    return client.post(url_of(rule), START | form, follow=True)


def errors_of(response: Any) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = response.context["form"].errors
    return errors


# -- the form --------------------------------------------------------------------------------------


def test_a_sweep_is_started_with_all_its_options(operator_client: Client, service: Service) -> None:
    response = start(
        operator_client,
        service.rule,
        purpose="mend",
        level="head",
        prefix="photos/ 2026",
        mends_extras="on",
        requests_per_second="5",
        most_requests="1000",
        settle_minutes="2",
    )
    assert messages_of(response) == "The sweep was started."
    sweep = Sweep.objects.get()
    assert response.redirect_chain == [(change_url("sweep", sweep.pk), 302)]
    assert (sweep.kind, sweep.level, sweep.prefix) == (
        *(SweepKind.RECONCILE, SweepLevel.HEAD),
        "photos/ 2026",
    )
    assert (sweep.mends, sweep.mends_extras, sweep.settle_seconds) == (True, True, 120)
    assert (sweep.requests_per_second, sweep.most_requests) == (5.0, 1000)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.affected) == (AuditAction.SWEEP_STARTED, 1)
    assert entry.about.startswith(
        "reconcile of rule photos: level head, prefix photos/ 2026, mends"
    )


def test_only_a_comparison_that_mends_looks_at_extra_keys(
    operator_client: Client, service: Service
) -> None:
    for purpose in ("backfill", "compare"):
        response = start(operator_client, service.rule, purpose=purpose, mends_extras="on")
        assert errors_of(response) == {
            "mends_extras": ["Only “Compare and mend” looks at extra keys."]
        }


@pytest.mark.parametrize(
    ("purpose", "kind", "mends"),
    [
        ("backfill", SweepKind.BACKFILL, True),
        ("compare", SweepKind.RECONCILE, False),
        ("mend", SweepKind.RECONCILE, True),
    ],
)
def test_each_purpose_is_a_kind_of_sweep(
    operator_client: Client, service: Service, purpose: str, kind: SweepKind, mends: bool
) -> None:
    start(operator_client, service.rule, purpose=purpose)
    sweep = Sweep.objects.get()
    assert (sweep.kind, sweep.mends) == (kind, mends)


def test_what_makes_no_sense_is_shown_at_its_field(
    operator_client: Client, service: Service
) -> None:
    errors = errors_of(
        start(
            operator_client,
            service.rule,
            purpose="compare",
            prefix="other/",
            mends_extras="on",
            settle_minutes="-1",
            window_from="22:00",
        )
    )
    assert set(errors) == {"prefix", "mends_extras", "settle_minutes", "window_until"}
    assert "Begin with the rule's prefix, “photos/”." in errors["prefix"]
    assert not Sweep.objects.exists()


def test_a_second_sweep_of_a_rule_is_refused_with_what_to_do(
    operator_client: Client, service: Service
) -> None:
    start(operator_client, service.rule)
    response = start(operator_client, service.rule)
    assert "A backfill of rule photos is running" in messages_of(response)
    assert "A sweep of this rule is under way." in response.content.decode()
    assert [entry.affected for entry in AuditEntry.objects.order_by("pk")] == [1, 0]
    assert Sweep.objects.count() == 1


def test_a_scrub_gives_way(operator_client: Client, service: Service) -> None:
    lifecycle.start(service.rule, SweepKind.SCRUB, mends=True)
    page = operator_client.get(url_of(service.rule)).content.decode()
    assert "A scrub of this rule is under way. It gives way" in page
    assert messages_of(start(operator_client, service.rule)) == "The sweep was started."


def test_a_disabled_rule_is_only_simulated(operator_client: Client, service: Service) -> None:
    ReplicationRule.objects.update(enabled=False)
    page = operator_client.get(url_of(service.rule))
    assert [value for value, _ in page.context["form"].fields["purpose"].choices] == ["compare"]
    assert "purpose" in errors_of(start(operator_client, service.rule))
    start(operator_client, service.rule, purpose="compare")
    assert (Sweep.objects.get().kind, Sweep.objects.get().mends) == (SweepKind.RECONCILE, False)


def test_extras_are_offered_only_where_the_rule_deletes(
    operator_client: Client, service: Service
) -> None:
    ReplicationRule.objects.update(delete_policy=DeletePolicy.KEEP)
    page = operator_client.get(url_of(service.rule)).content.decode()
    assert "mends_extras" not in page


def test_a_web_server_can_not_be_compared(operator_client: Client, service: Service) -> None:
    Source.objects.update(
        kind=SourceKind.HTTP, bucket="", region="", endpoint_url="https://a.example"
    )
    page = operator_client.get(url_of(service.rule)).content.decode()
    assert "has no listing" in page
    assert 'type="submit" class="default"' not in page
    assert "has no listing" in messages_of(start(operator_client, service.rule))
    assert not Sweep.objects.exists()


def test_a_viewer_can_not_start_a_sweep(viewer_client: Client, service: Service) -> None:
    assert viewer_client.get(url_of(service.rule)).status_code == 403
    assert viewer_client.post(url_of(service.rule), START).status_code == 403
    page = viewer_client.get(change_url("replicationrule", service.rule.pk)).content.decode()
    assert "Compare or backfill" not in page


# -- the offer -------------------------------------------------------------------------------------


@pytest.fixture
def made(transactional_db: None, operator_client: Client) -> Callable[..., str]:
    """Make a rule like this one; returns the messages."""

    def make(like: ReplicationRule, **changed: Any) -> str:
        ReplicationRule.objects.filter(pk=like.pk).update(destination_prefix="old/")
        url = change_url("replicationrule", like.pk)
        fields = {"name": "new", "destination_prefix": "new/"} | changed
        operator_client.post(add_url("replicationrule"), filled_in(operator_client, url, **fields))
        assert ReplicationRule.objects.filter(name=fields["name"]).exists()
        return messages_of(operator_client.get(url))

    return make


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_backfill_is_offered_for_a_new_rule_over_a_bucket_with_objects(
    road: Road, made: Callable[..., str]
) -> None:
    for key in ("a.jpg", "b.jpg", "c.txt"):
        road.put(key)
    said = made(road.rule, source_suffix=".jpg")
    assert f"2 objects are in {road.source.bucket} already." in said
    new = ReplicationRule.objects.get(name="new")
    assert f'<a href="{url_of(new)}?purpose=backfill">Copy them</a>' in said


def test_only_some_pages_are_counted(
    road: Road, made: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = S3Store.list_page

    def two(self: S3Store, *, prefix: str, after: str, limit: int = 2) -> Any:
        return whole(self, prefix=prefix, after=after, limit=2)

    monkeypatch.setattr(S3Store, "list_page", two)
    for number in range(11):
        road.put(str(number))
    assert "At least 10 objects are in" in made(road.rule)


def test_nothing_is_offered_where_nothing_is_or_is_copied_yet_or_a_backfill_starts_by_itself(
    road: Road, made: Callable[..., str]
) -> None:
    assert "already" not in made(road.rule)
    road.put("a")
    assert "already" not in made(road.rule, name="off", destination_prefix="off/", enabled=False)
    assert "already" not in made(road.rule, name="own", destination_prefix="own/", backfill=True)


@pytest.mark.django_db(transaction=True)
def test_a_rule_that_is_enabled_later_is_offered_a_backfill(
    operator_client: Client, road: Road
) -> None:
    road.put("a")
    url = change_url("replicationrule", road.rule.pk)
    for enabled in (False, True):
        form = filled_in(operator_client, url, enabled=enabled)
        operator_client.post(url, form)
    assert "1 object is in" in messages_of(operator_client.get(url))


def test_a_source_that_does_not_answer_holds_nobody_up(
    service: Service, made: Callable[..., str], silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "SECONDS", 0.2)
    Source.objects.update(endpoint_url=silent)
    said = made(service.rule, source_prefix="new/")
    assert "Objects that are in acme-photos already are not copied by themselves." in said
