"""Signatures that other clients made: the test vectors of Alibaba Cloud's public SDKs."""

from urllib.parse import quote

import pytest

from sandbox.oss import dates
from sandbox.oss.authentication import AccessKey, Verifier
from sandbox.oss.errors import OssError
from sandbox.oss.http import RequestHead, parse_query

# The vectors of both signature versions use the access key "ak" with the secret "sk".
V4_QUERY = "param1=value1&%2Bparam1=value3&%7Cparam1=value4&%2Bparam2=&%7Cparam2=&param2="
V4_HEADERS = {"x-oss-head1": "value", "abc": "value", "zabc": "value", "xyz": "value"}
V4_KEY = "1234+-/123/1.txt"
V1_HEADERS = {
    "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
    "content-type": "text/html",
    "x-oss-meta-author": "alice",
    "x-oss-meta-magic": "abracadabra",
    "x-oss-date": "Wed, 28 Dec 2022 10:27:41 GMT",
}


def verify(
    head: RequestHead, *, bucket: str, key: str, at: str, token: str | None = None
) -> str | None:
    keys = {"ak": AccessKey("sk", token)}
    verifier = Verifier(keys, region="cn-hangzhou", v4_only=False)
    return verifier.authenticate(head, bucket=bucket, key=key, now=dates.parse_http_date(at))


def v4_head(authorization: str, stamp: str, **headers: str) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    everything = {
        **V4_HEADERS,
        "content-type": "text/plain",
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": stamp,
        "authorization": authorization,
        **named,
    }
    return RequestHead("PUT", "", parse_query(V4_QUERY), everything)


def v4_url(signature: str, stamp: str, **parameters: str) -> RequestHead:
    extra = {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-date": stamp,
        "x-oss-expires": "599",
        "x-oss-credential": f"ak/{stamp[:8]}/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-signature": signature,
        **{name.replace("_", "-"): value for name, value in parameters.items()},
    }
    query = V4_QUERY + "".join(f"&{name}={quote(value, safe='')}" for name, value in extra.items())
    headers = {**V4_HEADERS, "content-type": "application/octet-stream"}
    return RequestHead("PUT", "", parse_query(query), headers)


V4_GOLDEN = {
    "header": (
        v4_head(
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,"
            "Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
            "20231216T162057Z",
        ),
        "Sat, 16 Dec 2023 16:20:57 GMT",
        None,
    ),
    "header with a token": (
        v4_head(
            "OSS4-HMAC-SHA256 Credential=ak/20231217/cn-hangzhou/oss/aliyun_v4_request,"
            "Signature=b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
            "20231217T034736Z",
            x_oss_security_token="token",
        ),
        "Sun, 17 Dec 2023 03:47:36 GMT",
        "token",
    ),
    "header with additional headers": (
        v4_head(
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,"
            "AdditionalHeaders=abc;zabc,"
            "Signature=4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
            "20231216T172512Z",
        ),
        "Sat, 16 Dec 2023 17:25:12 GMT",
        None,
    ),
    "URL": (
        v4_url(
            "a39966c61718be0d5b14e668088b3fa07601033f6518ac7b523100014269c0fe", "20231217T025437Z"
        ),
        "Sun, 17 Dec 2023 02:54:37 GMT",
        None,
    ),
    "URL with a token": (
        v4_url(
            "3817ac9d206cd6dfc90f1c09c00be45005602e55898f26f5ddb06d7892e1f8b5",
            "20231217T035628Z",
            x_oss_security_token="token",
        ),
        "Sun, 17 Dec 2023 03:56:28 GMT",
        "token",
    ),
    "URL with additional headers": (
        v4_url(
            "6bd984bfe531afb6db1f7550983a741b103a8c58e5e14f83ea474c2322dfa2b7",
            "20231217T033009Z",
            x_oss_additional_headers="abc;zabc",
        ),
        "Sun, 17 Dec 2023 03:30:09 GMT",
        None,
    ),
}


@pytest.mark.parametrize("name", V4_GOLDEN)
def test_a_v4_signature_of_the_public_sdks_is_accepted(name: str) -> None:
    head, at, token = V4_GOLDEN[name]
    assert verify(head, bucket="bucket", key=V4_KEY, at=at, token=token) == "ak"


@pytest.mark.parametrize("name", V4_GOLDEN)
def test_a_v4_signature_covers_key_query_headers_and_method(name: str) -> None:
    head, at, token = V4_GOLDEN[name]
    tampered = [
        (head, V4_KEY + "x"),
        (RequestHead("GET", "", head.query, head.headers), V4_KEY),
        (RequestHead("PUT", "", {**head.query, "param1": "other"}, head.headers), V4_KEY),
        (RequestHead("PUT", "", {**head.query, "more": ""}, head.headers), V4_KEY),
        (RequestHead("PUT", "", head.query, {**head.headers, "x-oss-head1": "other"}), V4_KEY),
        (RequestHead("PUT", "", head.query, {**head.headers, "content-type": "other"}), V4_KEY),
    ]
    for request, key in tampered:
        with pytest.raises(OssError) as refusal:
            verify(request, bucket="bucket", key=key, at=at, token=token)
        assert (refusal.value.code, refusal.value.status) == ("SignatureDoesNotMatch", 403)


def test_a_v4_signature_covers_the_host_if_it_is_an_additional_header() -> None:
    # https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4
    headers = {
        "host": "examplebucket.oss-cn-hangzhou.aliyuncs.com",
        "content-md5": "eB5eJF1ptWaXm4bijSPyxw",
        "content-type": "text/html",
        "x-oss-meta-author": "alice",
        "x-oss-meta-magic": "abracadabra",
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-date": "20231203T121212Z",
        "authorization": "OSS4-HMAC-SHA256 "
        "Credential=accesskeyid/20231203/cn-hangzhou/oss/aliyun_v4_request,AdditionalHeaders=host,"
        "Signature=4b663e424d2db9967401ff6ce1c86f8c83cabd77d9908475239d9110642c63fa",
    }
    verifier = Verifier(
        {"accesskeyid": AccessKey("accesskeysecret")}, region="cn-hangzhou", v4_only=True
    )
    now = dates.parse_stamp("20231203T121212Z")

    def sender(**changed: str) -> str | None:
        head = RequestHead("PUT", "", {}, headers | changed)
        return verifier.authenticate(head, bucket="examplebucket", key="exampleobject", now=now)

    assert sender() == "accesskeyid"
    with pytest.raises(OssError) as refusal:
        sender(host="examplebucket.oss-cn-shanghai.aliyuncs.com")
    assert refusal.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("method", "key", "query", "headers", "signature"),
    [
        ("PUT", "nelson", "", V1_HEADERS, "kSHKmLxlyEAKtZPkJhG9bZb5k7M="),
        ("PUT", "nelson", "acl", V1_HEADERS, "/afkugFbmWDQ967j1vr6zygBLQk="),
        (
            "GET",
            "",
            "resourceGroup&non-resousce=null",
            {"x-oss-date": V1_HEADERS["x-oss-date"]},
            "vkQmfuUDyi1uDi3bKt67oemssIs=",
        ),
    ],
)
def test_a_v1_header_of_the_public_sdks_is_accepted(
    method: str, key: str, query: str, headers: dict[str, str], signature: str
) -> None:
    signed = {**headers, "authorization": f"OSS ak:{signature}"}
    head = RequestHead(method, "", parse_query(query), signed)
    assert verify(head, bucket="examplebucket", key=key, at=headers["x-oss-date"]) == "ak"


@pytest.mark.parametrize(
    ("key", "query", "at", "token"),
    [
        (
            "key",
            "Expires=1699807420&OSSAccessKeyId=ak&Signature=dcLTea%2BYh9ApirQ8o8dOPqtvJXQ%3D"
            "&versionId=versionId",
            "Sun, 12 Nov 2023 16:43:00 GMT",
            None,
        ),
        (
            "key+123",
            "Expires=1699808204&OSSAccessKeyId=ak&Signature=jzKYRrM5y6Br0dRFPaTGOsbrDhY%3D"
            "&security-token=token&versionId=versionId",
            "Sun, 12 Nov 2023 16:56:00 GMT",
            "token",
        ),
    ],
)
def test_a_v1_url_of_the_public_sdks_is_accepted_until_it_expires(
    key: str, query: str, at: str, token: str | None
) -> None:
    head = RequestHead("GET", "", parse_query(query), {})
    assert verify(head, bucket="bucket", key=key, at=at, token=token) == "ak"
    with pytest.raises(OssError) as refusal:
        verify(head, bucket="bucket", key=key, at="Sun, 12 Nov 2023 17:00:00 GMT", token=token)
    assert (refusal.value.code, refusal.value.message) == ("AccessDenied", "Request has expired.")
