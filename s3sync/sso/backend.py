"""Who somebody is whom the identity provider vouches for, and what the own groups let them do."""

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from replication.operations import identities
from s3sync.sso import provider
from s3sync.sso.configuration import get_setting


class NoRole(Exception):
    """The person is known to the provider, and in none of the groups that may use s3sync."""

    def __init__(self, name: str, groups: Collection[str]) -> None:
        super().__init__(f"{name} is in none of the groups of S3SYNC_OIDC_ROLES")
        self.name = name
        self.groups = sorted(groups)


class ProviderBackend(OIDCAuthenticationBackend):
    """Lets in whom the provider vouches for. The package keeps state, nonce and PKCE; the calls and
    the checks of the token are `provider`'s."""

    get_settings = staticmethod(get_setting)

    def authenticate(self, request: HttpRequest | None, **kwargs: Any) -> User | None:
        """The user of a login that was begun here; None for logins by password.

        Raises:
            ProviderFailed, TokenRefused, NoRole
        """
        # Without these it is not our callback that asks, and nobody has compared the state.
        if not kwargs.get("nonce") or not kwargs.get("code_verifier"):
            return None
        user: User | None = super().authenticate(request, **kwargs)
        return user

    def get_user(self, user_id: int) -> User | None:
        """The user of a session, unless they were deactivated."""
        return ModelBackend().get_user(user_id)

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        return provider.exchange({k: v for k, v in payload.items() if k != "client_secret"})

    def verify_token(self, token: Any, **kwargs: Any) -> dict[str, Any]:
        return provider.verified(token, nonce=kwargs["nonce"])

    def get_or_create_user(self, access_token: Any, id_token: Any, payload: dict[str, Any]) -> User:
        """The user of these claims, with the groups that the claims give, and no others."""
        claim = settings.S3SYNC.oidc_groups_claim
        claims = payload
        if claim not in claims:
            claims = provider.user_info(access_token, subject=payload["sub"]) | payload
        groups = _groups(claims.get(claim))
        roles = {role for group, role in settings.S3SYNC.roles_of_groups if group in groups}
        who = identities.Identity(
            issuer=payload["iss"],
            subject=payload["sub"],
            name=str(claims.get("preferred_username") or claims.get("email") or ""),
            email=str(claims.get("email") or ""),
        )
        user = identities.sign_on(who, roles)
        if user is None:
            raise NoRole(who.name or who.subject, groups)
        return user


def _groups(claim: Any) -> set[str]:
    """A claim is a list of names, or one name."""
    values = claim if isinstance(claim, list) else [claim]
    return {value for value in values if isinstance(value, str)}
