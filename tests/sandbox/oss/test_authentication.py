"""Signatures, access keys, clocks and tokens: accepted, or refused as OSS refuses them."""

from collections.abc import Callable

import oss2
import pytest
import requests

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, KEY_ID, REGION, SECRET, make_auth

HOUR_SECONDS = 3600
OpenBucket = Callable[..., oss2.Bucket]


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_wrong_secret_is_a_signature_mismatch_until_the_secrets_match(
    server: OssServer, open_bucket: OpenBucket, version: str
) -> None:
    bucket = open_bucket(make_auth(version, "wrong"))
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object("key", b"x")
    assert (refusal.value.status, refusal.value.code) == (403, "SignatureDoesNotMatch")
    assert refusal.value.details["StringToSign"]
    assert refusal.value.details["OSSAccessKeyId"] == KEY_ID
    server.set_secret(KEY_ID, "wrong")
    assert bucket.put_object("key", b"x").status == 200


@pytest.mark.parametrize("make", [oss2.Auth, oss2.AuthV4])
def test_an_unknown_access_key_is_refused(open_bucket: OpenBucket, make: type) -> None:
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        open_bucket(make("nobody", SECRET)).put_object("key", b"x")
    assert (refusal.value.status, refusal.value.code) == (403, "InvalidAccessKeyId")
    assert refusal.value.ec == "0002-00000902"


def test_an_anonymous_client_may_not_use_a_private_bucket(open_bucket: OpenBucket) -> None:
    anonymous = open_bucket(oss2.AnonymousAuth())
    for attempt in (
        lambda: anonymous.put_object("key", b"x"),
        lambda: anonymous.get_object("key"),
        lambda: anonymous.head_object("key"),
        anonymous.list_objects,
    ):
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            attempt()
        assert (refusal.value.status, refusal.value.code) == (403, "AccessDenied")


def test_a_public_object_can_be_read_by_anybody_and_written_by_its_owner(
    bucket: oss2.Bucket, open_bucket: OpenBucket
) -> None:
    bucket.put_object("key", b"open", headers={"x-oss-object-acl": "public-read"})
    anonymous = open_bucket(oss2.AnonymousAuth())
    assert anonymous.get_object("key").read() == b"open"
    with pytest.raises(oss2.exceptions.AccessDenied):
        anonymous.put_object("key", b"x")


@pytest.mark.parametrize("offset_seconds", [-HOUR_SECONDS, HOUR_SECONDS])
def test_a_clock_that_is_an_hour_off_is_too_skewed(
    server: OssServer, bucket: oss2.Bucket, offset_seconds: float
) -> None:
    server.set_clock_offset(offset_seconds)
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object("key", b"x")
    assert (refusal.value.status, refusal.value.code) == (403, "RequestTimeTooSkewed")
    assert refusal.value.details["MaxAllowedSkewMilliseconds"] == "900000"


def test_a_clock_that_is_ten_minutes_off_is_accepted(
    server: OssServer, bucket: oss2.Bucket
) -> None:
    server.set_clock_offset(600)
    assert bucket.put_object("key", b"x").status == 200


def test_a_v4_signature_for_another_region_is_refused(open_bucket: OpenBucket) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument) as refusal:
        open_bucket(make_auth("v4"), region="eu-central-1").put_object("key", b"x")
    assert refusal.value.message == "Invalid signing region in Authorization header."
    assert refusal.value.ec == "0002-00000226"


def test_a_server_for_v4_only_refuses_v1_header_and_url(session: oss2.Session) -> None:
    with OssServer(keys={KEY_ID: SECRET}, buckets=[BUCKET], region=REGION, v4_only=True) as server:
        old = oss2.Bucket(make_auth("v1"), server.endpoint, BUCKET, session=session)
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            old.put_object("key", b"x")
        assert (refusal.value.status, refusal.value.ec) == (403, "0002-00000080")
        assert requests.get(old.sign_url("GET", "key", 60)).status_code == 403
        new = oss2.Bucket(make_auth("v4"), server.endpoint, BUCKET, region=REGION, session=session)
        assert new.put_object("key", b"x").status == 200


@pytest.mark.parametrize("version", [oss2.AUTH_VERSION_1, oss2.AUTH_VERSION_4])
def test_a_temporary_key_needs_its_token(
    server: OssServer, open_bucket: OpenBucket, version: str
) -> None:
    server.set_secret("temporary", "temporary-secret", security_token="token")
    good = open_bucket(oss2.StsAuth("temporary", "temporary-secret", "token", version))
    assert good.put_object("key", b"x").status == 200
    assert requests.get(good.sign_url("GET", "key", 60)).content == b"x"
    for token in ("other", ""):
        bad = open_bucket(oss2.StsAuth("temporary", "temporary-secret", token, version))
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            bad.put_object("key", b"x")
        assert (refusal.value.status, refusal.value.code) == (403, "InvalidSecurityToken")


def test_a_presigned_url_works_without_further_headers(bucket: oss2.Bucket) -> None:
    put = requests.put(bucket.sign_url("PUT", "a/ö +.txt", 60, slash_safe=True), data=b"hello")
    assert put.status_code == 200
    url = bucket.sign_url("GET", "a/ö +.txt", 60, params={"response-content-type": "text/plain"})
    answer = requests.get(url)
    assert answer.content == b"hello"
    assert answer.headers["Content-Type"] == "text/plain"


def test_a_presigned_url_expires(server: OssServer, bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    url = bucket.sign_url("GET", "key", 60)
    assert requests.get(url).status_code == 200
    server.set_clock_offset(61)
    answer = requests.get(url)
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text
    assert "Request has expired." in answer.text


def test_a_tampered_presigned_url_is_refused(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    bucket.put_object("kez", b"x")
    url = bucket.sign_url("GET", "key", 60)
    expires = "x-oss-expires=60" if "x-oss-expires" in url else "Expires="
    for tampered in (
        url.replace("/key?", "/kez?"),
        url.replace(expires, expires.replace("60", "6000") if "60" in expires else "Expires=1"),
        url + "&response-content-type=text%2Fhtml",
    ):
        answer = requests.get(tampered)
        assert answer.status_code == 403, tampered
        assert "<Code>SignatureDoesNotMatch</Code>" in answer.text
    assert requests.delete(url).status_code == 403


def test_a_request_signed_twice_is_refused(v4_bucket: oss2.Bucket) -> None:
    url = v4_bucket.sign_url("GET", "key", 60)
    answer = requests.get(url, headers={"Authorization": "OSS someone:signature"})
    assert answer.status_code == 400
    assert "<Code>InvalidArgument</Code>" in answer.text


@pytest.mark.parametrize("expires_seconds", [0, 7 * 24 * HOUR_SECONDS + 1])
def test_a_v4_url_is_valid_for_seven_days_at_most(
    v4_bucket: oss2.Bucket, expires_seconds: int
) -> None:
    answer = requests.get(v4_bucket.sign_url("GET", "key", expires_seconds))
    assert answer.status_code == 400
    assert "<Code>InvalidArgument</Code>" in answer.text


def test_an_authorization_of_another_kind_is_refused(server: OssServer) -> None:
    for authorization in ("Basic eDp5", "AWS4-HMAC-SHA256 Credential=x", "OSS nocolon"):
        url = f"{server.endpoint}/{BUCKET}/key"
        answer = requests.get(url, headers={"Authorization": authorization})
        assert answer.status_code == 400
        assert "<Code>InvalidArgument</Code>" in answer.text


def test_every_answer_has_its_request_id(server: OssServer, bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    with pytest.raises(oss2.exceptions.NoSuchKey) as refusal:
        bucket.get_object("absent")
    logged = [entry.request_id for entry in server.requests()]
    assert refusal.value.request_id == logged[-1]
    assert refusal.value.details["RequestId"] == logged[-1]
    assert len(set(logged)) == len(logged)
