"""The settings of mozilla-django-oidc, which it asks for by name: ours decide them all."""

from typing import Any

from django.conf import settings

from s3sync.sso import provider


def get_setting(name: str, *default: Any) -> Any:
    """The value of one of the package's settings; what is not named here has its default.

    Raises:
        ProviderFailed: it needs the provider's description, which can't be had.
        KeyError: it has no default.
    """
    fixed: dict[str, Any] = {
        "OIDC_RP_CLIENT_ID": settings.S3SYNC.oidc_client_id,
        "OIDC_RP_CLIENT_SECRET": "",  # `provider` sends it
        "OIDC_RP_SCOPES": "openid profile email",
        "OIDC_USE_NONCE": True,
        "OIDC_USE_PKCE": True,
        "OIDC_PKCE_CODE_CHALLENGE_METHOD": "S256",
        "OIDC_MAX_STATES": 5,
        "OIDC_STORE_ACCESS_TOKEN": False,
        "OIDC_STORE_ID_TOKEN": False,
        # Used by parts of the package that ours replace.
        "OIDC_OP_TOKEN_ENDPOINT": "",
        "OIDC_OP_USER_ENDPOINT": "",
        "LOGIN_REDIRECT_URL": "admin:index",
        "LOGIN_REDIRECT_URL_FAILURE": "admin:login",
    }
    if name == "OIDC_OP_AUTHORIZATION_ENDPOINT":
        return provider.description()["authorization_endpoint"]
    if name in fixed:
        return fixed[name]
    (value,) = default or (fixed[name],)
    return value
