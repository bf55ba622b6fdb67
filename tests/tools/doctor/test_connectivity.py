"""Endpoints that are unreachable, silent, or answer as no stand-in does; doctor stays quick."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from email.utils import formatdate
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from replication.models import Destination, LambdaContact, ReplicationRule, Source
from replication.tools.doctor import Check, CheckResults, Level, examine, reachability
from sandbox.oss import Fault
from tests.support.http_origin import HttpOrigin, http_origin
from tests.tools.doctor.conftest import Green, Report, doctor

LISTING = "<ListBucketResult><Name>b</Name>{}</ListBucketResult>"
ONE_KEY = LISTING.format("<Contents><Key>secret.txt</Key><Size>1</Size></Contents>")


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with http_origin() as server:
        yield server


@pytest.fixture
def hole() -> Iterator[str]:
    """A URL at which no connection is ever established, as behind a firewall that drops packets."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):  # the kernel queues these and drops further ones
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silence() -> Iterator[str]:
    """A URL that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def nothing() -> str:
    """A URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def only(report: Report) -> tuple[str, str, str, str]:
    (found,) = report.bad
    return found["level"], found["check"], found["found"], found["fix"]


def failures(report: Report) -> list[dict[str, Any]]:
    return [each for each in report.bad if each["level"] == "fail"]


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("hole", ("no connection to {} within 0.3 s", "Allow this host to connect to {}")),
        (
            "silence",
            ("{} accepts the connection but does not answer within 0.3 s", "http or https"),
        ),
        ("nothing", ("no connection to {}", "nothing listens there")),
    ],
)
def test_an_unreachable_endpoint_is_reported_quickly_with_host_and_port(
    green: Green,
    request: pytest.FixtureRequest,
    side: str,
    endpoint: str,
    expected: tuple[str, str],
) -> None:
    green.patch.setattr(reachability, "CONNECT_SECONDS", 0.3)
    green.patch.setattr(reachability, "READ_SECONDS", 0.3)
    url = request.getfixturevalue(endpoint)
    field = "endpoint_url" if side == "source" else "endpoint"
    green.change(getattr(green, side), **{field: url})
    began = monotonic()
    level, check, found, fix = only(doctor())
    assert monotonic() - began < 3
    where = urlsplit(url).netloc
    assert (level, check) == ("fail", "reached")
    assert expected[0].format(where) in found
    assert expected[1].format(where) in fix


def answers_in_s3(origin: HttpOrigin, *, listing: str, get: tuple[str, str]) -> None:
    """Have the server answer this listing, and this status and code for a GET of an object."""
    status, code = get
    origin.answers(listing.encode())
    listed: Any = origin.answer
    body = f"<Error><Code>{code}</Code><Message>the reason</Message></Error>"
    origin.answers(body.encode(), status=status)
    got: Any = origin.answer
    origin.answer = lambda target: listed if "list-type=2" in target else got


@pytest.mark.parametrize(
    ("listing", "get", "expected"),
    [
        (
            ONE_KEY,
            ("400 Bad Request", "KMS.DisabledException"),
            (
                "source.read",
                "could not decrypt the object with its KMS key",
                "Grant kms:Decrypt on the key",
            ),
        ),
        (
            ONE_KEY,
            ("403 Forbidden", "AccessDenied"),
            ("source.read", "'secret.txt' may not be read", "also kms:Decrypt on that key"),
        ),
        (
            LISTING.format(""),
            ("403 Forbidden", "AccessDenied"),
            ("source.missing", "S3 answers 403, not 404", "without the condition s3:prefix"),
        ),
    ],
)
def test_an_unreadable_source_is_reported_with_the_reason(
    green: Green,
    origin: HttpOrigin,
    listing: str,
    get: tuple[str, str],
    expected: tuple[str, str, str],
) -> None:
    green.change(green.source, endpoint_url=origin.url)
    answers_in_s3(origin, listing=listing, get=get)
    (failure,) = failures(doctor())
    assert failure["check"] == expected[0]
    assert expected[1] in failure["found"]
    assert expected[2] in failure["fix"]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            "400 Bad Request",
            "<Error><Code>AuthorizationHeaderMalformed</Code>"
            "<Message>expecting 'eu-west-1'</Message></Error>",
            ("source.read", "expecting 'eu-west-1'"),
        ),
        (
            "200 OK",
            LISTING.format(""),
            ("source.region", "is in eu-west-1, but the source's region is set to us-east-1"),
        ),
    ],
)
def test_a_bucket_of_another_region_is_reported_however_s3_says_so(
    green: Green,
    origin: HttpOrigin,
    status: str,
    body: str,
    expected: tuple[str, str],
) -> None:
    green.change(green.source, endpoint_url=origin.url)
    origin.answers(body.encode(), status=status, x_amz_bucket_region="eu-west-1")
    answer: Any = origin.answer
    origin.answers(b"", status="403 Forbidden")
    refusal: Any = origin.answer
    origin.answer = lambda target: refusal if "notification" in target else answer
    (failure,) = failures(doctor())
    assert failure["check"] == expected[0]
    assert expected[1] in failure["found"]
    assert "Set the source's region to" in failure["fix"]


def test_a_clock_that_s3_would_refuse_is_found_by_the_date_of_any_answer(
    green: Green, origin: HttpOrigin
) -> None:
    green.change(green.source, endpoint_url=origin.url)
    origin.answers(b"", status="403 Forbidden", Date=formatdate(time() - 3600, usegmt=True))
    level, check, found, fix = only(doctor())
    assert (level, check) == ("fail", "clock")
    assert " s ahead of the clock of 127.0.0.1:" in found
    assert "chrony or ntpd" in fix
    assert origin.targets == ["/"]  # no other request was made, and none was signed


def test_an_endpoint_that_supports_only_v1_signatures_is_reported(
    green: Green, origin: HttpOrigin
) -> None:
    green.change(green.destination, endpoint=origin.url)
    message = "Unsupported Authorization Type"
    body = f"<Error><Code>InvalidArgument</Code><Message>{message}</Message></Error>"
    origin.answers(
        body.encode(), status="400 Bad Request", Date=formatdate(usegmt=True), x_oss_request_id="1"
    )
    level, check, found, fix = only(doctor())
    assert (level, check) == ("fail", "destination.write")
    assert message in found
    assert "supports only V1" in fix


def test_a_group_that_takes_too_long_is_stopped_and_names_what_it_may_leave_behind(
    green: Green,
) -> None:
    green.oss.add_fault(Fault(operation="PutObject", delay_seconds=30))
    began = monotonic()
    results = examine(seconds=0.7)
    assert monotonic() - began < 5
    (stopped,) = [each for each in results if each.has_failed]
    (finding,) = stopped.findings
    assert (finding.level, finding.check) == (Level.FAIL, Check.INCOMPLETE)
    assert "no answer within 0.7 s" in finding.found
    assert ".s3sync-key/doctor/" in finding.found


# -- web servers ---------------------------------------------------------------------------------


def web_rule(green: Green, origin: HttpOrigin, *domains: str) -> ReplicationRule:
    """The only enabled rule, whose source is a web server."""
    green.change(green.rule, enabled=False)
    site = Source.objects.create(name="site", kind="http", endpoint_url=origin.url)
    for domain in domains:
        site.domains.create(domain=domain)
    return ReplicationRule.objects.create(
        name="site", source=site, destination=Destination.objects.get()
    )


def findings_of_rule(results: list[CheckResults]) -> dict[Check, tuple[Level, str]]:
    return {
        finding.check: (finding.level, finding.found)
        for each in results
        for finding in each.findings
        if finding.check in {Check.API, Check.SOURCE_MISSING}
    }


def test_a_web_server_must_answer_404_for_a_missing_path_and_needs_a_caller_of_the_api(
    green: Green, origin: HttpOrigin
) -> None:
    rule = web_rule(green, origin, "files.example.com")
    origin.answers(b"", status="404 Not Found")
    found = findings_of_rule(examine())
    assert found[Check.SOURCE_MISSING][0] is Level.PASS
    assert found[Check.API][0] is Level.WARN
    assert "no event of the rule was posted" in found[Check.API][1]
    assert "no Lambda function has ever posted an event" in found[Check.API][1]
    LambdaContact.objects.create(heard_at=timezone.now() - timedelta(minutes=5.5))
    said = findings_of_rule(examine())[Check.API][1]
    assert "a Lambda function last posted an event 5 min ago" in said

    rule.source.domains.all().delete()
    origin.answers(b"<html>Sorry!</html>")
    found = findings_of_rule(examine())
    assert found[Check.SOURCE_MISSING][0] is Level.WARN
    assert "its error page would be copied" in found[Check.SOURCE_MISSING][1]
    assert found[Check.API][0] is Level.FAIL
    assert "has no domain" in found[Check.API][1]
