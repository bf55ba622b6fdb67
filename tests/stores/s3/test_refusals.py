"""S3's refusals are told apart by status, code and headers, never by the text of a message."""

import pytest

from replication.errors import MEANINGS, Disposition, ErrorCode, ObjectMissing
from tests.stores.conftest import scripted_s3
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "a.txt"


def error_answer(origin: HttpOrigin, code: str, *, status: str, message: str = "m") -> bytes:
    """An error as S3 sends it; without a code, the answer has no body, as an answer to a HEAD."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    origin.answers(body.encode(), status=status, x_amz_request_id="R1")
    assert isinstance(origin.answer, bytes)
    return origin.answer


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("AccountProblem", ErrorCode.SOURCE_ACCOUNT),
        ("AllAccessDisabled", ErrorCode.SOURCE_ACCOUNT),
        ("NotSignedUp", ErrorCode.SOURCE_ACCOUNT),
        ("InvalidPayer", ErrorCode.SOURCE_ACCOUNT),
        ("OptInRequired", ErrorCode.SOURCE_ACCOUNT),
        ("UserSuspended", ErrorCode.SOURCE_ACCOUNT),
        ("RequestPayerDenied", ErrorCode.SOURCE_REQUESTER_PAYS),
        ("UnrecognizedClientException", ErrorCode.SOURCE_CREDENTIALS),
        ("InvalidClientTokenId", ErrorCode.SOURCE_CREDENTIALS),
        ("InvalidSecurity", ErrorCode.SOURCE_CREDENTIALS),
        ("Novelty", ErrorCode.SOURCE_ACCESS_DENIED),
    ],
)
def test_a_403_is_never_an_unknown_error(origin: HttpOrigin, name: str, code: ErrorCode) -> None:
    error_answer(origin, name, status="403 Forbidden")
    with failing(code) as caught:
        scripted_s3(origin).open(KEY)
    assert name in caught.value.detail
    assert caught.value.disposition is Disposition.PERSON


@pytest.mark.parametrize("key", ["&#x1;", "\x01", "a&b=c", "<"])
def test_the_code_of_an_error_that_is_not_xml_is_understood(origin: HttpOrigin, key: str) -> None:
    """It repeats the key, which may have characters that XML can't have."""
    origin.answers(
        f"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code><Message>It does not exist.</Message>"
        f"<Key>{key}</Key><RequestId>R1</RequestId></Error>".encode(),
        status="404 Not Found",
        x_amz_request_id="R1",
    )
    with pytest.raises(ObjectMissing):
        scripted_s3(origin).open("a")


def test_a_key_that_looks_like_an_error_is_none(origin: HttpOrigin) -> None:
    origin.answers(
        b"<Error><Message>\x01<Error><Code>NoSuchKey</Code></Error></Message></Error>",
        status="404 Not Found",
        x_amz_request_id="R1",
    )
    with failing(ErrorCode.UNEXPECTED):
        scripted_s3(origin).open("a")


def test_an_unknown_401_concerns_the_credentials(origin: HttpOrigin) -> None:
    error_answer(origin, "Novelty", status="401 Unauthorized")
    with failing(ErrorCode.SOURCE_CREDENTIALS):
        scripted_s3(origin).open(KEY)


def test_a_denial_names_requester_pays_among_its_causes() -> None:
    assert "requester" in MEANINGS[ErrorCode.SOURCE_ACCESS_DENIED].hint.lower()


def test_an_invalid_request_of_the_whole_bucket_needs_a_person(origin: HttpOrigin) -> None:
    """For example a bucket without Transfer Acceleration behind an accelerated endpoint."""
    message = "S3 Transfer Acceleration is not configured on this bucket"
    error_answer(origin, "InvalidRequest", status="400 Bad Request", message=message)
    with failing(ErrorCode.SOURCE_INVALID_REQUEST) as caught:
        scripted_s3(origin).open(KEY)
    assert message in caught.value.detail
    assert caught.value.disposition is Disposition.PERSON


@pytest.mark.parametrize("bucket_status", ["200 OK", "403 Forbidden"])
def test_an_invalid_request_of_one_object_is_a_matter_of_its_key(
    origin: HttpOrigin, bucket_status: str
) -> None:
    of_object = error_answer(origin, "InvalidRequest", status="400 Bad Request")
    of_bucket = error_answer(origin, "", status=bucket_status)
    origin.answer = lambda target: of_object if KEY in target else of_bucket
    with failing(ErrorCode.SOURCE_CUSTOMER_KEY) as caught:
        scripted_s3(origin).open(KEY)
    assert "InvalidRequest" in caught.value.detail


def test_a_bucket_that_does_not_answer_leaves_the_cause_open(origin: HttpOrigin) -> None:
    of_object = error_answer(origin, "InvalidRequest", status="400 Bad Request")
    origin.answer = lambda target: of_object if KEY in target else b""
    with failing(ErrorCode.SOURCE_UNREACHABLE):
        scripted_s3(origin).open(KEY)
