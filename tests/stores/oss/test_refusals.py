"""OSS's refusals are told apart by status, code and EC, never by the text of a message."""

import base64
from collections.abc import Callable

import pytest

from replication.errors import MEANINGS, Disposition, ErrorCode
from replication.stores.base import ReplicaAttributes
from replication.stores.oss.store import OssStore
from tests.stores.conftest import oss_store
from tests.support.content import Content
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "a.txt"


def refuses(origin: HttpOrigin, code: str, *, status: str = "403 Forbidden", ec: str = "") -> None:
    fields = f"<Code>{code}</Code><Message>m</Message>" + (f"<EC>{ec}</EC>" if ec else "")
    origin.answers(
        f"<?xml version='1.0'?>\n<Error>{fields}</Error>".encode(),
        status=status,
        x_oss_request_id="R1",
    )


def put(store: OssStore, *, acl: str = "") -> None:
    store.put(KEY, Content(b"content"), ReplicaAttributes(acl=acl))


def create_upload(store: OssStore, *, acl: str = "") -> None:
    store.create_upload(KEY, ReplicaAttributes(acl=acl))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("InDebt", ErrorCode.DESTINATION_ACCOUNT),
        ("InDebtOverdue", ErrorCode.DESTINATION_ACCOUNT),
        ("UserDisable", ErrorCode.DESTINATION_ACCOUNT),
        ("BucketDisable", ErrorCode.DESTINATION_ACCOUNT),
        ("AbnormalBucketOwnerStatus", ErrorCode.DESTINATION_ACCOUNT),
        ("SecondLevelDomainForbidden", ErrorCode.DESTINATION_ENDPOINT),
        ("NonStandardHostForbidden", ErrorCode.DESTINATION_ENDPOINT),
        ("CnameDenied", ErrorCode.DESTINATION_ENDPOINT),
        ("PermanentRedirect", ErrorCode.DESTINATION_ENDPOINT),
        ("BucketNotBelongTo", ErrorCode.DESTINATION_ACCESS_DENIED),
        ("AccessKeyIdAndSecurityTokenNotMatch", ErrorCode.DESTINATION_CREDENTIALS),
        ("InvalidSecurityToken", ErrorCode.DESTINATION_CREDENTIALS),
        ("UbsmsInvalidBid", ErrorCode.DESTINATION_KMS),
        ("Novelty", ErrorCode.DESTINATION_ACCESS_DENIED),
        ("", ErrorCode.DESTINATION_ACCESS_DENIED),
    ],
)
@pytest.mark.parametrize("write", [put, create_upload])
def test_a_403_is_never_an_unknown_error(
    origin: HttpOrigin, write: Callable[[OssStore], None], name: str, code: ErrorCode
) -> None:
    refuses(origin, name)
    with failing(code) as caught:
        write(oss_store(origin.url))
    assert name in caught.value.detail
    assert caught.value.disposition is Disposition.PERSON


def test_an_unknown_401_concerns_the_credentials(origin: HttpOrigin) -> None:
    refuses(origin, "Novelty", status="401 Unauthorized")
    with failing(ErrorCode.DESTINATION_CREDENTIALS):
        put(oss_store(origin.url))


@pytest.mark.parametrize("acl", ["public-read", "public-read-write"])
@pytest.mark.parametrize("ec", ["0016-00000901", ""], ids=["with EC", "without EC"])
@pytest.mark.parametrize("write", [put, create_upload])
def test_a_refused_public_acl_names_block_public_access(
    origin: HttpOrigin, write: Callable[..., None], acl: str, ec: str
) -> None:
    refuses(origin, "AccessDenied", ec=ec)
    with failing(ErrorCode.DESTINATION_PUBLIC_ACCESS):
        write(oss_store(origin.url), acl=acl)
    hint = MEANINGS[ErrorCode.DESTINATION_PUBLIC_ACCESS].hint
    assert "Block Public Access" in hint
    assert "oss:PutObjectAcl" in hint


@pytest.mark.parametrize(
    ("acl", "ec"),
    [("", ""), ("private", ""), ("public-read", "0003-00000001")],
    ids=["no ACL", "private", "another EC"],
)
@pytest.mark.parametrize("write", [put, create_upload])
def test_another_denial_is_no_matter_of_public_access(
    origin: HttpOrigin, write: Callable[..., None], acl: str, ec: str
) -> None:
    refuses(origin, "AccessDenied", ec=ec)
    with failing(ErrorCode.DESTINATION_ACCESS_DENIED):
        write(oss_store(origin.url), acl=acl)


def test_a_head_is_told_apart_by_its_headers(origin: HttpOrigin) -> None:
    """The answer to a HEAD has no body: OSS puts the error and its EC into headers."""
    error = b"<Error><Code>InDebt</Code><Message>m</Message></Error>"
    origin.answers(
        status="403 Forbidden", x_oss_request_id="R1", x_oss_err=base64.b64encode(error).decode()
    )
    with failing(ErrorCode.DESTINATION_ACCOUNT):
        oss_store(origin.url).head(KEY)
    origin.answers(status="403 Forbidden", x_oss_request_id="R1", x_oss_ec="0003-00001403")
    with failing(ErrorCode.DESTINATION_ENDPOINT):
        oss_store(origin.url).head(KEY)


def test_an_error_with_empty_fields_is_still_told(origin: HttpOrigin) -> None:
    origin.answers(
        b"<Error><Code/><Message/><EC/></Error>", status="403 Forbidden", x_oss_request_id="R1"
    )
    with failing(ErrorCode.DESTINATION_ACCESS_DENIED):
        put(oss_store(origin.url))
