"""Every URL of the service, by every role and method, from the URL table itself.

A later URL is in the table, and so in these tests.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from replication.models import DeadLetter, Job, JobState, ReplicationRule, Sweep, TokenRole
from tests.api.callers import a_caller
from tests.support.everything import everything
from tests.support.groups import client_of_group
from tests.support.story import make_job, make_story

CHANGING = ["POST", "DELETE"]
METHODS = ["GET", "PUT", "PATCH", *CHANGING]
# What a visitor without a login may have.
PUBLIC = {"/admin/login/", "/admin/jsi18n/", "/api/v1/openapi.json"}
# What each member of the staff has, without any right.
OWN = (
    PUBLIC
    | {"/", "/admin/", "/admin/password_change/", "/admin/password_change/done/"}
    | {"/admin/second_factor/"}
)
# Texts of the story that a page may show only escaped.
HOSTILE = ["<script>alert(1)", "<img src=x", "<b>bold", "<b>world", "taken<b>by", "<b>no</b>"]
SECRETS = ["photos", "invoices", "acme", "hangzhou", "deploy"]  # names and keys of the story

pytestmark = pytest.mark.django_db


@pytest.fixture
def urls() -> list[str]:
    """The path of each URL, for rows of the story, but of the one that ends the session."""
    service = make_story()
    make_job(service.rule, "photos/held.jpg")
    ReplicationRule.objects.filter(pk=service.rule.pk).update(braked_at="2026-11-23T06:00Z")
    found = {path for pattern in patterns(get_resolver(), "") for path in filled(pattern)}
    return sorted(found - {"/admin/logout/"})


def patterns(resolver: URLResolver, prefix: str) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield "/" + route
        else:
            yield from patterns(pattern, route)


def filled(pattern: str) -> Iterator[str]:
    """The pattern with ids of rows that exist, and names that do."""
    values = {
        "job_id": Job.objects.filter(state=JobState.FAILED).latest("pk").pk,
        "letter_id": DeadLetter.objects.latest("pk").pk,
        "rule_id": ReplicationRule.objects.get(name="photos").pk,
        "sweep_id": Sweep.objects.latest("pk").pk,
        "content_type_id": ContentType.objects.get(model="source").pk,
        "name": "photos",
        "token": "unknown",
    }
    if found := re.match(r"/admin/(replication|auth)/(\w+)/", pattern):
        model = apps.get_model(found[1], found[2])
        row = model._default_manager.first()
        values["id"] = values["object_id"] = row.pk if row else 0
    values.setdefault("object_id", ReplicationRule.objects.get(name="photos").source.pk)
    if "app_label" in pattern:
        yield from ("/admin/replication/", "/admin/auth/")
        return
    path = pattern.replace("(?P<url>.*)$", "no/such/page/")
    yield re.sub(r"<(?:\w+:)?(\w+)>", lambda match: str(values[match[1]]), path)


def ask(client: Client, method: str, path: str) -> Any:
    if method == "GET":
        return client.get(path)
    if method == "POST" and not path.startswith("/api/"):
        form = {"post": "yes", "keys": "b.jpg", "name": "b", "role": "operate", "_save": "1"}
        return client.post(path, form)
    return client.generic(method, path, "{}", content_type="application/json")


def shown(answer: Any) -> str:
    return "" if answer.streaming else answer.content.decode()


def test_the_table_has_all_of_the_service(urls: list[str]) -> None:
    assert len(urls) > 150
    assert not [path for path in urls if re.search(r"[<>^$()]", path)]


def test_a_visitor_sees_and_changes_nothing(urls: list[str]) -> None:
    before = everything()
    for method, path in product(METHODS, urls):
        answer = ask(Client(), method, path)
        if path not in PUBLIC:
            assert answer.status_code in {301, 302, 401, 403, 404, 405}, path
        assert not [word for word in SECRETS if word in shown(answer) and word not in path], path
    assert everything() == before


def test_staff_without_rights_see_and_change_nothing(urls: list[str]) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    before = everything()
    for method, path in product(METHODS, urls):
        answer = ask(client, method, path)
        if path not in OWN:
            assert answer.status_code in {301, 302, 401, 403, 404, 405}, path
        assert not [word for word in SECRETS if word in shown(answer) and word not in path], path
    assert everything() == before


def test_a_viewer_changes_nothing(urls: list[str]) -> None:
    viewer = client_of_group("Viewer")
    before = everything()
    for method, path in product(METHODS, urls):
        assert ask(viewer, method, path).status_code < 500, path
    assert everything() == before


def test_a_token_that_may_read_changes_nothing(urls: list[str]) -> None:
    reader = a_caller("reader", TokenRole.READ)
    before = everything()
    for method, path in product(METHODS, urls):
        answer = ask(reader, method, path)
        assert answer.status_code < 500, path
        if not path.startswith(("/api/", "/metrics")):
            assert answer.status_code != 200 or path in PUBLIC, path
    assert everything() == before


@pytest.mark.parametrize("group", ["Operator", "Approver"])
def test_nobody_in_a_group_changes_who_may_do_what(urls: list[str], group: str) -> None:
    client = client_of_group(group)
    access = {"User", "Group", "Permission", "ApiToken", Group.permissions.through.__name__}
    before = {name: rows for name, rows in everything().items() if name in access}
    assert before.keys() == access
    for method, path in product(CHANGING, urls):
        answer = ask(client, method, path)
        assert answer.status_code < 500, path
        if path.startswith("/admin/auth/"):
            assert answer.status_code in {302, 403, 404}, path
    assert {name: rows for name, rows in everything().items() if name in access} == before


def test_every_page_escapes_what_others_named(urls: list[str]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    pages = 0
    for path in urls:
        answer = client.get(path)
        assert answer.status_code < 500, path
        if answer["Content-Type"].startswith("text/html"):
            pages += 1
            assert not [text for text in HOSTILE if text in shown(answer)], path
            assert "default-src 'self'" in answer["Content-Security-Policy"], path
            assert answer["X-Frame-Options"] == "DENY", path
        assert answer["X-Content-Type-Options"] == "nosniff", path
        assert answer["Referrer-Policy"] == "same-origin", path
    assert pages >= 98


def parameter_of(item: Any) -> str:
    """The query's parameter of a list's filter."""
    if isinstance(item, tuple):
        item = item[0]
    return item if isinstance(item, str) else item.parameter_name


# What the filters of the lists take, by page.
FILTERS = {
    f"/admin/{model._meta.app_label}/{model._meta.model_name}/": [
        f"{name}{lookup}={value}"
        for item in page.list_filter
        for name in [parameter_of(item)]
        for lookup in ("", "__exact", "__gte")
        for value in ("%00", "9" * 30)
    ]
    for model, page in admin.site._registry.items()
}
PAGE_QUERIES = [
    *("q=%00", "q=%ED%A0%80", "p=-1", f"p={'9' * 30}", "o=99.-99", "o=x", "e=1", "all=", "x__y=1"),
    *("id__exact=%00", f"id__exact={'9' * 30}", f"id__exact={'9' * 5001}", "_to_field=%00"),
    "_changelist_filters=%00",
]
CALL_QUERIES = [
    *("limit=%00", f"limit={'9' * 5001}", "cursor=%00", "cursor=x", "state=%00", "rule=%00"),
    *("key=%00", "since=%00", f"since={'9' * 30}", f"id={'9' * 30}"),
]


def test_no_query_is_an_error_of_the_server(urls: list[str]) -> None:
    root = Client(raise_request_exception=False)
    root.force_login(User.objects.create_superuser("root"))
    program = a_caller("program", TokenRole.OPERATE)
    program.raise_request_exception = False
    asked = [
        *((root, path, query) for path in FILTERS for query in PAGE_QUERIES + FILTERS[path]),
        *((root, "/status/", query) for query in PAGE_QUERIES),
        *((root, f"/admin/replication/{name}/%00/change/", "") for name in ("source", "sweep")),
        *(
            (program, path, query)
            for path in urls
            if path.startswith("/api/")
            for query in CALL_QUERIES
        ),
    ]
    assert len(asked) > 600
    answers = [
        (f"{path}?{query}"[:200], client.get(path, QUERY_STRING=query))
        for client, path, query in asked
    ]
    assert [url for url, answer in answers if answer.status_code >= 500] == []
