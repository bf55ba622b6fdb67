"""Rules, places, and places that are new to a credential profile: three separate rights."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse

from replication.models import Destination, EventQueue, Job, ObjectAcl, ReplicationRule, Source
from tests.admin.pages import add_url, change_url
from tests.support.groups import client_of_group
from tests.support.story import Service

REFUSAL = "has not been used with this place yet"
DESTINATION = {
    "name": "new",
    "bucket": "photos-cn-2",
    "endpoint": "https://oss-cn-hangzhou.aliyuncs.com",
    "region": "cn-hangzhou",
    "addressing": "virtual_host",
    "credential_profile": "default",
}
SOURCE = {
    "name": "new",
    "kind": "s3",
    "bucket": "photos-2",
    "region": "ap-east-1",
    "endpoint_url": "",
    "credential_profile": "default",
    "domains-TOTAL_FORMS": "0",
    "domains-INITIAL_FORMS": "0",
}
QUEUE = {
    "name": "new",
    "url": "https://sqs.ap-east-1.amazonaws.com/123456789012/new",
    "region": "ap-east-1",
    "credential_profile": "default",
}
PLACES = [(Destination, DESTINATION), (Source, SOURCE), (EventQueue, QUEUE)]

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("model", "form"), PLACES)
def test_only_an_approver_uses_a_profile_with_a_new_place(
    model: type[Any], form: dict[str, str]
) -> None:
    url = add_url(model._meta.model_name)
    page = client_of_group("Operator").post(url, form)
    assert REFUSAL in page.content.decode()
    assert not model.objects.exists()
    assert client_of_group("Approver").post(url, form).status_code == 302
    assert model.objects.get().name == "new"


@pytest.mark.parametrize(
    "change",
    [
        {"credential_profile": "emea"},
        {"bucket": "others"},
        {"endpoint": "https://oss-cn-beijing.aliyuncs.com", "region": "cn-beijing"},
        {"endpoint": "https://files.example.com", "addressing": "custom_domain"},
    ],
)
def test_a_change_of_where_a_profile_is_used_needs_an_approver(change: dict[str, str]) -> None:
    destination = Destination.objects.create(**DESTINATION)
    url = change_url("destination", destination.pk)
    assert REFUSAL in client_of_group("Operator").post(url, DESTINATION | change).content.decode()
    assert Destination.objects.filter(**DESTINATION).exists()
    assert client_of_group("Approver").post(url, DESTINATION | change).status_code == 302
    assert Destination.objects.filter(**DESTINATION | change).exists()


def test_what_a_profile_is_used_with_already_needs_no_approver() -> None:
    destination = Destination.objects.create(**DESTINATION)
    operator = client_of_group("Operator")
    rename = DESTINATION | {"name": "renamed", "max_requests_per_second": "10"}
    assert operator.post(change_url("destination", destination.pk), rename).status_code == 302
    twin = DESTINATION | {"name": "twin"}
    assert operator.post(add_url("destination"), twin).status_code == 302
    assert {row.name for row in Destination.objects.all()} == {"renamed", "twin"}


WEB = SOURCE | {"kind": "http", "bucket": "", "region": "", "endpoint_url": "https://a.example.com"}


def test_a_web_server_that_no_source_has_yet_needs_an_approver() -> None:
    operator = client_of_group("Operator")
    page = operator.post(add_url("source"), WEB).content.decode()
    assert "No source has this address yet." in page
    assert client_of_group("Approver").post(add_url("source"), WEB).status_code == 302
    web = Source.objects.get()
    for change in ({"endpoint_url": "https://b.example.com"}, {"kind": "s3", "bucket": "photos"}):
        form = WEB | {"region": "ap-east-1"} | change
        if change.get("kind"):
            form["endpoint_url"] = ""
        answer = operator.post(change_url("source", web.pk), form)
        assert "You may not approve that" in answer.content.decode(), change
    assert operator.post(change_url("source", web.pk), WEB | {"name": "web"}).status_code == 302


def test_an_approver_edits_places_and_no_rules(service: Service) -> None:
    approver = client_of_group("Approver")
    page = change_url("replicationrule", service.rule.pk)
    assert approver.get(page).status_code == 200
    assert approver.post(page, {"name": "mine"}).status_code == 403


def test_who_may_edit_rules_alone_edits_no_place(service: Service) -> None:
    user = User.objects.create_user("rules", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            codename__in=["change_replicationrule", "view_source", "view_destination"]
        )
    )
    client = Client()
    client.force_login(user)
    rule = service.rule
    form = {name: value for name, value in model_to_dict(rule).items() if value is not None}
    answer = client.post(change_url("replicationrule", rule.pk), form | {"max_concurrency": "5"})
    assert answer.status_code == 302, answer.content.decode()
    assert ReplicationRule.objects.get(pk=rule.pk).max_concurrency == 5
    for name, place in (("source", rule.source), ("destination", rule.destination)):
        assert client.post(change_url(name, place.pk), {"name": "mine"}).status_code == 403


def test_only_an_approver_makes_replicas_public(service: Service) -> None:
    rule = service.rule
    url = change_url("replicationrule", rule.pk)
    ReplicationRule.objects.filter(pk=rule.pk).update(source_suffix=".jpg", exclude="**/no/**")
    rule.refresh_from_db()
    form = {name: value for name, value in model_to_dict(rule).items() if value is not None}
    page = client_of_group("Operator").post(url, form | {"acl": "public-read"})
    assert "More replicas would be public." in page.content.decode()
    assert ReplicationRule.objects.get(pk=rule.pk).acl == ObjectAcl.DEFAULT
    # An approver edits rules as an operator.
    both = client_of_group("Approver")
    User.objects.get(username="approver").groups.add(Group.objects.get(name="Operator"))
    assert both.post(url, form | {"acl": "public-read"}).status_code == 302
    assert ReplicationRule.objects.get(pk=rule.pk).acl == ObjectAcl.PUBLIC_READ
    rename = form | {"acl": "public-read", "max_concurrency": "5"}
    operator = Client()
    operator.force_login(User.objects.get(username="operator"))
    assert operator.post(url, rename).status_code == 302
    for change in (
        *({"destination_prefix": "elsewhere/"}, {"include": "photos/**"}, {"source_prefix": "pho"}),
        *({"source_suffix": ""}, {"exclude": ""}, {"acl": "public-read-write"}),
    ):
        answer = operator.post(url, rename | change)
        assert "More replicas would be public." in answer.content.decode(), change


def test_only_an_approver_leads_a_public_rule_to_another_known_place(service: Service) -> None:
    Source.objects.create(name="other", bucket="other", region="ap-east-1")
    Destination.objects.create(**DESTINATION)
    ReplicationRule.objects.filter(pk=service.rule.pk).update(acl=ObjectAcl.PUBLIC_READ)
    source, destination = service.rule.source, service.rule.destination
    operator = client_of_group("Operator")
    for place, form in (
        (source, SOURCE | {"name": source.name, "bucket": "other"}),
        (destination, DESTINATION | {"name": destination.name}),
    ):
        url = change_url(f"{place._meta.model_name}", place.pk)
        assert "they would be others" in operator.post(url, form).content.decode(), place
    same = SOURCE | {"name": "renamed", "bucket": source.bucket}
    assert operator.post(change_url("source", source.pk), same).status_code == 302


def test_a_public_rule_s_filters_hold_for_keys_that_a_person_names(service: Service) -> None:
    rule = service.rule
    ReplicationRule.objects.filter(pk=rule.pk).update(acl=ObjectAcl.PUBLIC_READ, exclude="**/no/**")
    operator = client_of_group("Operator")
    url = reverse("admin:replication_replicationrule_look_again", args=[rule.pk])
    page = operator.post(url, {"keys": "photos/no/salary.csv\nphotos/a.jpg"}).content.decode()
    assert "makes its replicas public" in page
    assert not Job.objects.exists()
    assert operator.post(url, {"keys": "photos/a.jpg"}).status_code == 302
    assert Job.objects.get().key == "photos/a.jpg"
