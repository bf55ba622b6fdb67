"""Places that can't be reached, go silent, or answer as no stand-in does: each bounded in time."""

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
from replication.tools.doctor import Check, Examined, Level, examine, reachability
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
    """An address whose connections are never made: nothing comes back, as behind a firewall."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):  # the kernel takes these in, and no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silence() -> Iterator[str]:
    """An address that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def only(report: Report) -> tuple[str, str, str, str]:
    (found,) = report.bad
    return found["level"], found["check"], found["found"], found["fix"]


def failures(report: Report) -> list[dict[str, Any]]:
    return [each for each in report.bad if each["level"] == "fail"]


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("hole", ("no connection to {} in 0.3 s", "Let this host out to {}")),
        ("silence", ("{} takes the connection and does not answer in 0.3 s", "http or https")),
        ("nobody", ("no connection to {}", "nobody listens there")),
    ],
)
def test_what_can_not_be_reached_is_named_by_host_and_port_and_waited_for_but_shortly(
    green: Green, request: pytest.FixtureRequest, side: str, place: str, expected: tuple[str, str]
) -> None:
    green.patch.setattr(reachability, "CONNECT_SECONDS", 0.3)
    green.patch.setattr(reachability, "READ_SECONDS", 0.3)
    url = request.getfixturevalue(place)
    field = "endpoint_url" if side == "source" else "endpoint"
    green.change(getattr(green, side), **{field: url})
    began = monotonic()
    level, check, said, remedy = only(doctor())
    assert monotonic() - began < 3
    where = urlsplit(url).netloc
    assert (level, check) == ("fail", "reached")
    assert expected[0].format(where) in said
    assert expected[1].format(where) in remedy


def answers_in_s3(origin: HttpOrigin, *, listing: str, get: tuple[str, str]) -> None:
    """Lists so, and answers a GET of an object with this status and code."""
    status, code = get
    origin.answers(listing.encode())
    listed: Any = origin.answer
    body = f"<Error><Code>{code}</Code><Message>as it was told</Message></Error>"
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
            ("source.read", "'secret.txt' may not be read", "kms:Decrypt on that key, too"),
        ),
        (
            LISTING.format(""),
            ("403 Forbidden", "AccessDenied"),
            ("source.missing", "answered by 403", "without the condition s3:prefix"),
        ),
    ],
)
def test_a_source_that_can_not_be_read_is_told_by_why(
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
            ("source.region", "is in eu-west-1, and the source's region is set to us-east-1"),
        ),
    ],
)
def test_a_bucket_of_another_region_is_found_however_s3_says_so(
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


def test_a_clock_that_s3_would_refuse_is_told_from_the_date_of_any_answer(
    green: Green, origin: HttpOrigin
) -> None:
    green.change(green.source, endpoint_url=origin.url)
    origin.answers(b"", status="403 Forbidden", Date=formatdate(time() - 3600, usegmt=True))
    level, check, found, fix = only(doctor())
    assert (level, check) == ("fail", "clock")
    assert " s ahead of that of 127.0.0.1:" in found
    assert "chrony or ntpd" in fix
    assert origin.targets == ["/"]  # nothing else was asked, least of all with a signature


def test_an_endpoint_that_knows_v1_alone_is_told_so(green: Green, origin: HttpOrigin) -> None:
    green.change(green.destination, endpoint=origin.url)
    said = "Unsupported Authorization Type"
    body = f"<Error><Code>InvalidArgument</Code><Message>{said}</Message></Error>"
    origin.answers(
        body.encode(), status="400 Bad Request", Date=formatdate(usegmt=True), x_oss_request_id="1"
    )
    level, check, found, fix = only(doctor())
    assert (level, check) == ("fail", "destination.write")
    assert said in found
    assert "knows V1 alone" in fix


def test_a_leg_that_takes_too_long_is_broken_off_with_what_it_may_leave(green: Green) -> None:
    green.oss.add_fault(Fault(operation="PutObject", delay_seconds=30))
    began = monotonic()
    examined = examine(seconds=0.7)
    assert monotonic() - began < 5
    (leg,) = [each for each in examined if each.has_failed]
    (broken_off,) = leg.findings
    assert (broken_off.level, broken_off.check) == (Level.FAIL, Check.LEG)
    assert "no answer in 0.7 s" in broken_off.found
    assert ".s3sync-key/doctor/" in broken_off.found


# -- web servers ---------------------------------------------------------------------------------


def web_rule(green: Green, origin: HttpOrigin, *domains: str) -> ReplicationRule:
    """The only enabled rule, with a web server for its source."""
    green.change(green.rule, enabled=False)
    site = Source.objects.create(name="site", kind="http", endpoint_url=origin.url)
    for domain in domains:
        site.domains.create(domain=domain)
    return ReplicationRule.objects.create(
        name="site", source=site, destination=Destination.objects.get()
    )


def of_rule(examined: list[Examined]) -> dict[Check, tuple[Level, str]]:
    return {
        finding.check: (finding.level, finding.found)
        for each in examined
        for finding in each.findings
        if finding.check in {Check.API, Check.SOURCE_MISSING}
    }


def test_a_web_server_is_asked_for_what_is_not_there_and_needs_somebody_who_posts(
    green: Green, origin: HttpOrigin
) -> None:
    rule = web_rule(green, origin, "files.example.com")
    origin.answers(b"", status="404 Not Found")
    found = of_rule(examine())
    assert found[Check.SOURCE_MISSING][0] is Level.PASS
    assert found[Check.API][0] is Level.WARN
    assert "no event of the rule was posted" in found[Check.API][1]
    assert "no Lambda function has ever posted one" in found[Check.API][1]
    LambdaContact.objects.create(heard_at=timezone.now() - timedelta(minutes=5.5))
    assert "a Lambda function last posted one 5 min ago" in of_rule(examine())[Check.API][1]

    rule.source.domains.all().delete()
    origin.answers(b"<html>Sorry!</html>")
    found = of_rule(examine())
    assert found[Check.SOURCE_MISSING][0] is Level.WARN
    assert "its error page would be copied" in found[Check.SOURCE_MISSING][1]
    assert found[Check.API][0] is Level.FAIL
    assert "has no domain" in found[Check.API][1]
