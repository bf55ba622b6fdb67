"""Our signatures of S3's requests are those of botocore, and those of AWS's documentation."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.utils import percent_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.stores.base import ObjectInfo
from replication.stores.s3.signing import canonical_query, object_path, sign
from replication.stores.s3.store import S3Store
from replication.stores.signing_keys import Credentials
from tests.support.http_origin import HttpOrigin
from tests.support.profiles import use_profile
from tests.support.requests_to_sign import (
    CREDENTIALS,
    HEADER_VALUES,
    HOSTS,
    KEYS,
    PARAMETERS,
    REGIONS,
    TIMES,
)

# The examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
DOCUMENTED = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DOCUMENTED_HOST = "examplebucket.s3.amazonaws.com"
DOCUMENTED_TIME = datetime(2013, 5, 24, tzinfo=UTC)

TEMPORARY = Credentials("<access-key-id>", "<secret>", "a/token+of=sts")

HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "range",
            "if-match",
            "x-amz-checksum-mode",
            "x-amz-expected-bucket-owner",
            "x-amz-request-payer",
        ]
    ),
    HEADER_VALUES,
)


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt",
            {},
            {"range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "/",
            {"lifecycle": ""},
            {},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["a range of an object", "a lifecycle", "a listing"],
)
def test_the_documentations_examples(
    path: str, query: dict[str, str], headers: dict[str, str], signature: str
) -> None:
    signed = sign(
        "GET",
        path,
        canonical_query(query),
        {"host": DOCUMENTED_HOST, **headers},
        credentials=DOCUMENTED,
        region="us-east-1",
        at=DOCUMENTED_TIME,
    )
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={';'.join(['host', *headers, 'x-amz-content-sha256', 'x-amz-date'])}, "
        f"Signature={signature}"
    )


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    key=KEYS,
    parameters=PARAMETERS,
    headers=HEADERS,
    credentials=CREDENTIALS,
    region=REGIONS,
    at=TIMES,
)
def test_botocore_signs_alike(
    *,
    method: str,
    scheme: str,
    host: str,
    key: str,
    parameters: dict[str, str],
    headers: dict[str, str],
    credentials: Credentials,
    region: str,
    at: datetime,
) -> None:
    path, query = f"/bucket/{object_path(key)}", canonical_query(parameters)
    ours = sign(
        method,
        path,
        query,
        {"host": host, **headers},
        credentials=credentials,
        region=region,
        at=at,
    )
    url = f"{scheme}://{host}{path}" + (f"?{query}" if query else "")
    theirs = signed_by_botocore(
        AWSRequest(method=method, url=url, headers={"Host": host, **headers}),
        credentials,
        region=region,
        at=at,
    )
    assert ours == theirs
    assert path == f"/bucket/{percent_encode(key, safe='/~')}"  # as botocore writes keys


@pytest.mark.parametrize("key", ["a.txt", "/a//../b c+%2F~/ä"])
def test_what_is_on_the_wire_is_signed(
    key: str, origin: HttpOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_profile(monkeypatch, "temporary_s3", TEMPORARY)
    store = S3Store(
        bucket="photos",
        region="eu-west-3",
        endpoint_url=origin.url,
        profile="temporary_s3",
        requester_pays=True,
    )
    origin.answers(b"234", status="206 Partial", Content_Range="bytes 2-4/10", ETag='"e"')
    pin = ObjectInfo(size_bytes=10, etag="e", version_id="v/1+2", is_pinnable=True)
    store.open_range(key, first_byte=2, last_byte=4, pin=pin).close()
    check_wire(origin.request)
    store.open(key).close()
    check_wire(origin.request)
    store.head(key)
    check_wire(origin.request)


def check_wire(request: bytes) -> None:
    """Check that botocore signs the headers that are said to be signed in the same way."""
    head = request.decode("latin-1").partition("\r\n\r\n")[0]
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    listed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-request-payer", "x-amz-security-token"} < set(listed)
    theirs = signed_by_botocore(
        AWSRequest(
            method=method,
            url=f"http://{headers['host']}{target}",
            headers={name: headers[name] for name in listed},
        ),
        TEMPORARY,
        region="eu-west-3",
        at=datetime.strptime(headers["x-amz-date"], SIGV4_TIMESTAMP).replace(tzinfo=UTC),
    )
    assert theirs["authorization"] == headers["authorization"]


def signed_by_botocore(
    request: Any, credentials: Credentials, *, region: str, at: datetime
) -> dict[str, str]:
    """The headers after the steps of `S3SigV4Auth.add_auth`, but at a time of our choice."""
    frozen = ReadOnlyCredentials(credentials.id, credentials.secret, credentials.token)
    signer: Any = S3SigV4Auth(frozen, "s3", region)
    request.context["timestamp"] = at.strftime(SIGV4_TIMESTAMP)
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return {name.lower(): value for name, value in request.headers.items()}
