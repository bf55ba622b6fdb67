"""POST /api/v1/events, over Django's test client and over real HTTP."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse

from replication.api.event_bodies import MAX_BODY_BYTES
from replication.api.events import MAX_EVENTS
from replication.models import Job, JobOrigin
from tests.support.examples import a_rule
from tests.support.paths import DATA

URL = "/api/v1/events"
NATIVE = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "photos-bucket"}, "object": {"key": "red+flower%2B.jpg"}},
        }
    ]
}
EVENTBRIDGE = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "photos-bucket"}, "object": {"key": "red flower+.jpg"}},
}

pytestmark = pytest.mark.django_db


def post(caller: Client, body):
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return caller.post(URL, data, content_type="application/json")


def test_a_domain_and_a_key_become_a_job(caller):
    rule = a_rule(domain="files.example.com")
    answer = post(caller, {"domain": "files.example.com", "key": "a b.jpg"})
    assert answer.status_code == 202
    job = Job.objects.get()
    assert answer.json() == {"job_ids": [job.pk], "unmatched": 0}
    assert (job.rule, job.key, job.origin) == (rule, "a b.jpg", JobOrigin.API)


def test_a_list_becomes_a_job_for_each_key(caller):
    a_rule(domain="files.example.com")
    events = [{"domain": "files.example.com", "key": key} for key in ("a", "b", "a")]
    assert len(post(caller, events).json()["job_ids"]) == 2
    assert set(Job.objects.values_list("key", flat=True)) == {"a", "b"}


def test_an_empty_list_creates_no_job(caller):
    assert post(caller, []).json() == {"job_ids": [], "unmatched": 0}


def test_the_same_event_twice_is_one_job(caller):
    a_rule(domain="files.example.com")
    event = {"domain": "files.example.com", "key": "a"}
    assert post(caller, event).json() == post(caller, event).json()


def test_a_key_is_taken_literally(caller):
    a_rule(domain="files.example.com")
    key = "50%25+off/日本 .jpg"
    post(caller, {"domain": "files.example.com", "key": key})
    assert Job.objects.get().key == key


@pytest.mark.parametrize(
    "spelling", ["FILES.example.com", "files.example.com.", "files.example.com:443"]
)
def test_spellings_of_a_domain_count_as_one_domain(caller, spelling):
    a_rule(domain="files.example.com")
    assert post(caller, {"domain": spelling, "key": "a"}).status_code == 202


def test_a_port_other_than_the_default_belongs_to_the_domain(caller):
    a_rule(domain="files.example.com:9000")
    assert post(caller, {"domain": "files.example.com:9000", "key": "a"}).status_code == 202
    assert post(caller, {"domain": "files.example.com", "key": "a"}).status_code == 404


def test_a_key_that_no_filter_matches_is_counted_as_unmatched(caller):
    a_rule(domain="files.example.com", source_prefix="photos/")
    answer = post(caller, {"domain": "files.example.com", "key": "videos/a"})
    assert (answer.status_code, answer.json()) == (202, {"job_ids": [], "unmatched": 1})


def test_an_unknown_domain_gets_404_and_creates_no_job(caller):
    a_rule(domain="files.example.com")
    answer = post(caller, {"domain": "other.example.com", "key": "a"})
    assert answer.status_code == 404
    detail = (
        "no enabled rule has a source with the domain 'other.example.com': add the domain to a "
        "source, and a rule to the source."
    )
    assert answer.json() == {
        "error": "unknown_domain",
        "detail": detail,
        "job_ids": [],
        "unmatched": 0,
        "results": [
            {"number": 0, "result": "refused", "error": "unknown_domain", "detail": detail}
        ],
    }
    assert not Job.objects.exists()


def test_the_domain_of_a_disabled_rule_gets_404(caller):
    a_rule(domain="files.example.com", enabled=False)
    assert post(caller, {"domain": "files.example.com", "key": "a"}).status_code == 404


# -- items beside a refused one ----------------------------------------------------------------


def results_of(answer):
    return [(each["number"], each["result"], each["error"]) for each in answer.json()["results"]]


def test_an_unknown_domain_in_a_list_takes_no_other_item_with_it(caller):
    a_rule(domain="files.example.com", source_prefix="in/")
    answer = post(
        caller,
        [
            {"domain": "files.example.com", "key": "in/a"},
            {"domain": "other.example.com", "key": "in/b"},
            {"domain": "files.example.com", "key": "out/c"},
            {"domain": "files.example.com", "key": "in/d"},
        ],
    )
    assert answer.status_code == 404
    assert results_of(answer) == [
        (0, "taken", ""),
        (1, "refused", "unknown_domain"),
        (2, "unmatched", ""),
        (3, "taken", ""),
    ]
    content = answer.json()
    assert content["error"] == "unknown_domain"
    assert content["detail"].startswith("Refused items: 1 of 4. Item 1: no enabled rule has")
    assert content["detail"].endswith("The others are taken. `results` has each item.")
    assert (len(content["job_ids"]), content["unmatched"]) == (2, 1)
    assert set(Job.objects.values_list("key", flat=True)) == {"in/a", "in/d"}


def test_an_invalid_item_of_a_list_takes_no_other_item_with_it(caller):
    a_rule(domain="files.example.com")
    good = {"domain": "files.example.com", "key": "a"}
    bad = [{"domain": "files.example.com", "key": "a\0b"}, 3, good | {"key": "x" * 1025}]
    answer = post(caller, [*bad, {"domain": "other.example.com", "key": "a"}, good])
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_event")
    assert results_of(answer) == [
        *((number, "refused", "invalid_event") for number in range(3)),
        (3, "refused", "unknown_domain"),
        (4, "taken", ""),
    ]
    assert answer.json()["results"][0]["detail"] == (
        "[0].key contains a NUL character, which PostgreSQL can't store."
    )
    assert Job.objects.get().key == "a"


def test_a_list_of_refused_items_says_that_none_is_taken(caller):
    answer = post(caller, [{"domain": "other.example.com", "key": key} for key in "ab"])
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Refused items: 2 of 2.")
    assert "The others" not in answer.json()["detail"]


@pytest.mark.parametrize("wrapped", [False, True], ids=["s3", "sns"])
def test_the_message_of_a_report_from_the_field_loses_no_good_record(caller, wrapped):
    a_rule(bucket="photos")
    message = json.loads((DATA / "two-records-second-key-has-nul.json").read_text())
    sns = {"Type": "Notification", "Message": json.dumps(message)}
    answer = post(caller, sns if wrapped else message)
    assert answer.status_code == 422
    assert results_of(answer) == [(0, "taken", ""), (1, "refused", "invalid_event")]
    assert "s3.object.key contains a NUL character" in answer.json()["detail"]
    assert "no retry and no replay can ever succeed" in answer.json()["detail"]
    assert Job.objects.get().key == "good.jpg"
    assert answer.json()["job_ids"] == [Job.objects.get().pk]


def test_the_records_of_lambdas_record_of_an_invocation_are_numbered_through(caller):
    a_rule()
    messages = [{"Sns": {"Message": json.dumps(NATIVE)}}, {"Sns": {"Message": "no JSON"}}]
    payload = {"Records": [*messages, {"Sns": {"Message": json.dumps({"Records": [{}]})}}]}
    answer = post(caller, {"requestContext": {}, "requestPayload": payload})
    assert results_of(answer) == [
        (0, "taken", ""),
        (1, "refused", "invalid_event"),
        (2, "refused", "invalid_event"),
    ]


def test_items_that_can_not_be_told_apart_have_no_results(caller):
    answer = post(caller, {"Records": 3})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "invalid_event",
        "detail": "Records is not a list.",
        "job_ids": [],
        "unmatched": 0,
        "results": [],
    }


def test_a_body_from_a_file_that_windows_wrote_is_taken(caller):
    a_rule()
    answer = post(caller, b"\xef\xbb\xbf" + json.dumps(NATIVE).encode() + b"\r\n")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "message",
    [NATIVE, {"Type": "Notification", "Message": json.dumps(NATIVE)}, EVENTBRIDGE],
    ids=["s3", "sns", "eventbridge"],
)
def test_raw_aws_messages_are_accepted(caller, message):
    a_rule()
    assert post(caller, message).status_code == 202
    assert Job.objects.get().key == "red flower+.jpg"


def test_a_bucket_without_a_rule_is_counted_and_not_refused(caller):
    answer = post(caller, NATIVE)
    assert (answer.status_code, answer.json()) == (202, {"job_ids": [], "unmatched": 1})


def test_the_test_message_of_s3_is_accepted_and_creates_no_job(caller):
    answer = post(caller, {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})
    assert (answer.status_code, answer.json()) == (202, {"job_ids": [], "unmatched": 0})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "empty"),
        ("{", "not JSON"),
        (b"\xff", "not UTF-8"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("3", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "Records"),
        ([3], "[0] is not an object"),
        ({"domain": "files.example.com"}, "the event.key is missing"),
        ({"domain": ["x"], "key": "a"}, "the event.domain is missing or not text"),
        ([{"domain": "x.example.com", "key": 3}], "[0].key is missing or not text"),
        ({"domain": "x.example.com", "key": "a", "version": "1"}, "'version'"),
        ({"domain": "https://x.example.com/", "key": "a"}, "without scheme or path"),
        ({"domain": "", "key": "a"}, "without scheme or path"),
        ({"domain": "a\0b", "key": "a"}, "without scheme or path"),
        ({"domain": "x.example.com", "key": ""}, "0 bytes"),
        ({"domain": "x.example.com", "key": "é" * 513}, "1026 bytes"),
        ({"domain": "x.example.com", "key": "a\0b"}, "NUL"),
        ('{"domain": "x.example.com", "key": "\\ud800"}', "not valid Unicode"),
        ([{"domain": "x.example.com", "key": "a"}] * (MAX_EVENTS + 1), "1,001 events"),
        ({"Records": [{"eventVersion": "3.0"}]}, "only 2.x is known"),
        ({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}, "let s3sync poll that queue"),
        ({"Records": [{"eventSource": "aws:ses"}]}, "a record of aws:ses, not of S3"),
        ({"Type": "SubscriptionConfirmation", "TopicArn": "t"}, "confirm the subscription"),
        (EVENTBRIDGE | {"detail": {"bucket": {"name": "a\0"}, "object": {"key": "a"}}}, "NUL"),
        (
            EVENTBRIDGE | {"detail": {"bucket": {"name": "\ud800"}, "object": {"key": "a"}}},
            "Unicode",
        ),
    ],
)
def test_an_invalid_event_gets_422_with_the_reason(caller, body, reason):
    answer = post(caller, body)
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_event"
    assert reason in answer.json()["detail"]


def test_a_body_over_the_limit_gets_413(caller):
    answer = post(caller, b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert post(caller, b" " * MAX_BODY_BYTES).status_code == 422


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", "Basic dXNlcjp4", "Bearer ключ", "token"]
)
def test_a_call_without_a_valid_token_gets_401(client, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    answer = client.post(URL, "{}", content_type="application/json", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthorized"
    assert answer["WWW-Authenticate"] == "Bearer"


def test_without_a_configured_token_every_call_is_refused(caller, settings):
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"api_tokens": []})
    for headers in ({}, {"Authorization": "Bearer "}):
        answer = caller.post(URL, "{}", content_type="application/json", headers=headers)
        assert answer.status_code == 401
        assert "`manage.py apitoken create`" in answer.json()["detail"]


def test_any_of_two_tokens_lets_a_caller_in(client, settings):
    tokens = ["the-old-token-of-this-test", "the-new-token-of-this-test"]
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"api_tokens": tokens})
    for token in tokens:
        answer = client.post(
            URL,
            "[]",
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 202


def test_csrf_does_not_apply_to_callers_with_a_token(caller):
    strict = Client(
        enforce_csrf_checks=True, headers={"Authorization": caller.defaults["HTTP_AUTHORIZATION"]}
    )
    assert post(strict, []).status_code == 202


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_get_405_in_the_same_format(caller, method):
    answer = getattr(caller, method)(URL)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert answer.json()["error"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/api/v1/", "/api/v1/nothing", "/api/v2/events", "/api/v1/docs"])
def test_an_unknown_api_path_gets_404_in_the_same_format(caller, path):
    answer = caller.get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_an_unexpected_error_gets_500_without_a_stack_trace(caller):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE replication_replicationrule RENAME TO elsewhere")
    answer = post(caller, NATIVE)
    assert (answer.status_code, answer.json()["error"]) == (500, "unexpected")


def test_the_schema_is_served_and_describes_the_body(client):
    schema = client.get(reverse("api:openapi-json")).json()
    operation = schema["paths"][URL]["post"]
    assert set(operation["responses"]) == {"202", "401", "403", "404", "413", "422", "429", "503"}
    assert len(operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]) == 3


@pytest.mark.django_db(transaction=True)
def test_over_http_the_jobs_are_committed_when_the_answer_arrives(live_server):
    a_rule(domain="files.example.com")
    http_connection = http.client.HTTPConnection(urlsplit(live_server.url).netloc, timeout=60)
    token = settings.S3SYNC.api_tokens[0]
    http_connection.request(
        "POST",
        URL,
        json.dumps({"domain": "files.example.com", "key": "a"}),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    answer = http_connection.getresponse()
    assert answer.status == 202
    assert json.load(answer)["job_ids"] == [Job.objects.get().pk]
    http_connection.close()


@pytest.mark.django_db(transaction=True)
def test_over_http_a_body_announced_as_too_large_is_refused_before_it_is_sent(live_server):
    http_connection = http.client.HTTPConnection(urlsplit(live_server.url).netloc, timeout=60)
    http_connection.putrequest("POST", URL)
    http_connection.putheader("Authorization", f"Bearer {settings.S3SYNC.api_tokens[0]}")
    http_connection.putheader("Content-Length", str(10 * MAX_BODY_BYTES))
    http_connection.endheaders()
    assert http_connection.getresponse().status == 413
    http_connection.close()
