"""Our signatures of OSS's requests are those of oss2, and those that Alibaba Cloud published."""

from collections.abc import Collection
from datetime import UTC, datetime

import oss2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.stores.base import ReplicaAttributes
from replication.stores.oss.signing import sign
from replication.stores.signing_keys import Credentials
from sandbox.oss import OssServer
from tests.stores.conftest import oss_store
from tests.support.content import Content
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

_PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
METADATA = st.dictionaries(
    st.from_regex(r"x-oss-meta-[a-z0-9-]{1,10}", fullmatch=True), HEADER_VALUES | _PRINTABLE
)
OTHER_HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "cache-control", "x-oss-storage-class", "x-oss-tagging"]),
    HEADER_VALUES,
)

# https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
# as of 2023
DOCUMENTED_HEADERS = {
    "host": "examplebucket.oss-cn-hangzhou.aliyuncs.com",
    "content-md5": "eB5eJF1ptWaXm4bijSPyxw",
    "content-type": "text/html",
    "x-oss-meta-author": "alice",
    "x-oss-meta-magic": "abracadabra",
}

# https://github.com/aliyun/alibabacloud-oss-python-sdk-v2/blob/master/tests/unit/signer/test_v4.py
SDK_PARAMETERS = {
    "param1": "value1",
    "+param1": "value3",
    "|param1": "value4",
    "+param2": "",
    "|param2": "",
    "param2": "",
}
SDK_HEADERS = {
    "x-oss-head1": "value",
    "abc": "value",
    "zabc": "value",
    "xyz": "value",
    "content-type": "text/plain",
}


def test_the_documentations_example() -> None:
    signed = sign(
        "PUT",
        "examplebucket",
        "exampleobject",
        {},
        DOCUMENTED_HEADERS,
        credentials=Credentials("accesskeyid", "accesskeysecret"),
        region="cn-hangzhou",
        at=datetime(2023, 12, 3, 12, 12, 12, tzinfo=UTC),
    )
    assert signed == {
        **DOCUMENTED_HEADERS,
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": "20231203T121212Z",
        "authorization": "OSS4-HMAC-SHA256 "
        "Credential=accesskeyid/20231203/cn-hangzhou/oss/aliyun_v4_request, "
        "AdditionalHeaders=host, "
        "Signature=4b663e424d2db9967401ff6ce1c86f8c83cabd77d9908475239d9110642c63fa",
    }


@pytest.mark.parametrize(
    ("at", "token", "additional", "signature"),
    [
        (
            datetime(2023, 12, 16, 16, 20, 57, tzinfo=UTC),
            "",
            (),
            "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
        ),
        (
            datetime(2023, 12, 17, 3, 47, 36, tzinfo=UTC),
            "token",
            (),
            "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
        ),
        (
            datetime(2023, 12, 16, 17, 25, 12, tzinfo=UTC),
            "",
            ("zabc", "abc"),
            "4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
        ),
    ],
    ids=["plain", "with a token", "with additional headers"],
)
def test_the_vectors_of_the_public_sdks(
    at: datetime, token: str, additional: Collection[str], signature: str
) -> None:
    signed = sign(
        "PUT",
        "bucket",
        "1234+-/123/1.txt",
        SDK_PARAMETERS,
        SDK_HEADERS,
        credentials=Credentials("ak", "sk", token),
        region="cn-hangzhou",
        at=at,
        additional=additional,
    )
    listed = "AdditionalHeaders=abc;zabc, " if additional else ""
    assert signed["authorization"] == (
        f"OSS4-HMAC-SHA256 Credential=ak/{at:%Y%m%d}/cn-hangzhou/oss/aliyun_v4_request, "
        f"{listed}Signature={signature}"
    )
    assert signed.get("x-oss-security-token", "") == token


@settings(deadline=None)
@given(
    method=st.sampled_from(["PUT", "POST", "GET", "HEAD", "DELETE"]),
    host=HOSTS,
    key=KEYS,
    parameters=PARAMETERS,
    metadata=METADATA,
    other_headers=OTHER_HEADERS,
    additional=st.sets(st.sampled_from(["host", "cache-control"])),
    credentials=CREDENTIALS,
    region=REGIONS,
    at=TIMES,
)
def test_oss2_signs_alike(
    *,
    method: str,
    host: str,
    key: str,
    parameters: dict[str, str],
    metadata: dict[str, str],
    other_headers: dict[str, str],
    additional: set[str],
    credentials: Credentials,
    region: str,
    at: datetime,
) -> None:
    headers = {"host": host, **metadata, **other_headers}
    additional &= headers.keys()
    ours = sign(
        method,
        "bucket",
        key,
        parameters,
        # One character for each byte; oss2 signs the UTF-8 of a text.
        {name: value.encode().decode("latin-1") for name, value in headers.items()},
        credentials=credentials,
        region=region,
        at=at,
        additional=additional,
    )
    request = oss2.http.Request(
        method, "", params=dict(parameters), headers=headers, region=region, product="oss"
    )
    theirs = signature_by_oss2(request, key, additional, credentials, at=at)
    listed = f"AdditionalHeaders={';'.join(sorted(additional))}, " if additional else ""
    assert ours["authorization"] == (
        f"OSS4-HMAC-SHA256 Credential={credentials.id}/{at:%Y%m%d}/{region}/oss/aliyun_v4_request, "
        f"{listed}Signature={theirs}"
    )


@pytest.mark.parametrize("key", ["a.txt", "a//../b c+%2F~/ä?x=y#z"])
def test_temporary_credentials_write_objects_and_parts(
    key: str, oss: OssServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = Credentials("temporary", "secret", "a/token+of=sts")
    oss.set_secret(temporary.id, temporary.secret, security_token=temporary.token)
    use_profile(monkeypatch, "temporary_oss", temporary)
    store = oss_store(oss.endpoint, profile="temporary_oss")
    attributes = ReplicaAttributes(
        content_headers={"content-disposition": 'inline; filename="a  b"'},
        user_metadata={"a": "b  c"},
        tags={"k": "v w"},
        storage_class="IA",
    )
    store.put(key, Content(b"content"), attributes)
    upload = store.create_upload(key, attributes)
    part = store.upload_part(key, upload, 1, Content(b"part"))
    store.complete_upload(key, upload, [part])
    found = store.head(key)
    assert found is not None
    assert (found.size_bytes, found.user_metadata, found.tag_count) == (4, {"a": "b  c"}, 1)


def signature_by_oss2(
    request: oss2.http.Request,
    key: str,
    additional: Collection[str],
    credentials: Credentials,
    *,
    at: datetime,
) -> str:
    """The signature of the steps of `ProviderAuthV4._sign_request`, at a time of our choice."""
    provider = oss2.credentials.StaticCredentialsProvider(*credentials)
    stamp = f"{at:%Y%m%dT%H%M%SZ}"
    request.headers.update({"x-oss-date": stamp, "x-oss-content-sha256": "UNSIGNED-PAYLOAD"})
    if credentials.token:
        request.headers["x-oss-security-token"] = credentials.token
    signature: str = oss2.ProviderAuthV4(provider)._ProviderAuthV4__make_signature(
        request, "bucket", key, sorted(additional), provider.get_credentials(), stamp
    )
    return signature
