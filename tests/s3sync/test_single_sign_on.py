"""Which ID tokens count, and which providers: of every wrong one the login is refused."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import RequestFactory
from pydantic import SecretStr
from pytest_django import Settings

from replication.operations.identities import Identity, sign_on
from s3sync.sso import pages, provider
from s3sync.sso.backend import ProviderBackend, _groups
from s3sync.sso.provider import ProviderFailed, TokenRefused
from tests.support.http_origin import HttpOrigin, http_origin

CLIENT, NONCE = "s3sync", "a nonce of this login"
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
WHO = Identity("https://login.example.com", "u1", "alice", "a@example.com")


def public_key(**fields: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return found | {"kid": "1", "use": "sig"} | fields


class Answers(dict[str, Any]):
    """What the provider answers for each of its paths."""

    url: str


@pytest.fixture
def idp(settings: Settings) -> Iterator[Answers]:
    with http_origin() as origin:
        answers = Answers(
            {
                "/.well-known/openid-configuration": {
                    "issuer": origin.url,
                    "authorization_endpoint": f"{origin.url}/auth",
                    "token_endpoint": f"{origin.url}/token",
                    "jwks_uri": f"{origin.url}/keys",
                },
                "/keys": {"keys": [public_key()]},
            }
        )
        answers.url = origin.url

        def answer(target: str) -> bytes:
            origin_answer(origin, answers[target])
            return answered.pop()

        answered: list[bytes] = []

        def origin_answer(origin: HttpOrigin, value: Any) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            answered.append(head.encode() + body)

        origin.answer = answer
        settings.S3SYNC = settings.S3SYNC.model_copy(
            update={
                "oidc_issuer": origin.url,
                "oidc_client_id": CLIENT,
                "oidc_client_secret": SecretStr("a secret of a test"),
                "plain_http_hosts": ["127.0.0.1"],
            }
        )
        provider._descriptions.clear()
        provider._pool.cache_clear()
        yield answers
        provider._pool.cache_clear()


def token(
    idp: Answers, *, key: Any = KEY, algorithm: str = "RS256", kid: str | None = "1", **claims: Any
) -> str:
    now = int(time.time())
    usual: dict[str, Any] = {
        **{"iss": idp.url, "aud": CLIENT, "sub": "u1", "nonce": NONCE},
        **{"iat": now, "exp": now + 300},
    }
    payload = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def test_a_token_for_this_login_counts(idp: Answers) -> None:
    assert provider.verified(token(idp), nonce=NONCE)["sub"] == "u1"
    assert provider.verified(token(idp, kid=None), nonce=NONCE)
    assert provider.verified(token(idp, aud=[CLIENT, "x"], azp=CLIENT), nonce=NONCE)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example.com"},
        {"aud": "another-client"},
        {"azp": "another-client"},
        {"nonce": "of another login"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"aud": [CLIENT, "x"]},
        {"iat": 1},
        {"iat": []},
        {"exp": {}},
        {"sub": "u\0"},
        {"sub": "u" * 256},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_login_is_refused(
    idp: Answers, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefused):
        provider.verified(token(idp, **claims), nonce=NONCE)


def test_a_token_that_the_provider_has_not_signed_is_refused(idp: Answers) -> None:
    forged = [
        token(idp, key=OTHER_KEY),
        token(idp, kid="2"),
        # Signed by what an eavesdropper may know: nothing, the client's secret.
        token(idp, key="", algorithm="none"),
        token(idp, key="a secret of a test that is long enough", algorithm="HS256"),
        "not a token",
        None,
    ]
    for each in forged:
        with pytest.raises(TokenRefused):
            provider.verified(each, nonce=NONCE)
    idp["/keys"] = {"keys": [public_key(use="enc")]}
    with pytest.raises(TokenRefused):
        provider.verified(token(idp), nonce=NONCE)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://other.example.com"},
        {"token_endpoint": "http://login.example.com/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None},
    ],
    ids=str,
)
def test_a_description_that_leads_elsewhere_is_refused(
    idp: Answers, change: dict[str, Any]
) -> None:
    idp["/.well-known/openid-configuration"] |= change
    with pytest.raises(ProviderFailed):
        provider.description()


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"1" * 300_000], ids=len)
def test_an_answer_that_is_none_is_refused(idp: Answers, answer: bytes) -> None:
    idp["/.well-known/openid-configuration"] = answer
    with pytest.raises(ProviderFailed):
        provider.description()


@pytest.mark.parametrize(
    "keys", [5, None, {"kty": "RSA"}, [public_key() | {"n": 5}], [public_key() | {"kty": []}]]
)
def test_keys_that_are_none_are_the_providers_failure(idp: Answers, keys: Any) -> None:
    idp["/keys"] = {"keys": keys}
    with pytest.raises((ProviderFailed, TokenRefused)):
        provider.verified(token(idp), nonce=NONCE)


@pytest.mark.parametrize("methods", [5, None, "client_secret_basic"])
def test_ways_to_authenticate_that_are_no_list_are_the_providers_failure(
    idp: Answers, methods: Any
) -> None:
    idp["/.well-known/openid-configuration"] |= {"token_endpoint_auth_methods_supported": methods}
    with pytest.raises(ProviderFailed):
        provider.exchange({"code": "c"})


@pytest.mark.django_db(transaction=True)
def test_of_racing_answers_with_one_state_one_counts() -> None:
    session = SessionStore()
    session["oidc_states"] = {"s": {"nonce": "n", "code_verifier": "v"}, "t": {"nonce": "o"}}
    session.save()
    together = threading.Barrier(6)

    def take() -> bool:
        request = RequestFactory().get("/", {"state": "s"})
        request.session = SessionStore(session.session_key)
        request.session.get("oidc_states")  # each has read it
        together.wait(timeout=60)
        try:
            return pages.take_state(request)["nonce"] == "n"
        except TokenRefused:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(each.result() for each in [pool.submit(take) for _ in range(6)]) == 1
    assert set(SessionStore(session.session_key)["oidc_states"]) == {"t"}


@pytest.mark.parametrize("groups", [["ops", 1, None, "x"], "ops", None, {}, 7], ids=str)
def test_a_claim_of_groups_is_a_list_or_one_name(groups: Any) -> None:
    is_known = groups in (["ops", 1, None, "x"], "ops")
    assert ("ops" in _groups(groups)) is is_known


@pytest.mark.django_db
def test_the_session_of_a_deactivated_user_ends() -> None:
    user = sign_on(WHO, {"Viewer"})
    assert user is not None
    assert ProviderBackend().get_user(user.pk) == user
    User.objects.update(is_active=False)
    assert ProviderBackend().get_user(user.pk) is None


@pytest.mark.django_db
def test_a_role_that_is_no_group_gives_nothing() -> None:
    assert sign_on(WHO, {"Typo"}) is None
    user = sign_on(WHO, {"Typo", "Viewer"})
    assert user is not None
    assert [group.name for group in user.groups.all()] == ["Viewer"]
    again = sign_on(WHO, {"Viewer"})
    assert again == user
    other = sign_on(Identity("https://other.example.com", "u1", "alice", ""), {"Viewer"})
    assert other is not None
    assert other != user
    assert User.objects.count() == 2
