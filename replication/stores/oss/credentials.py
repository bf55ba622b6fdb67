"""oss2's credentials, and its signatures with the host in them."""

import os
from collections.abc import Collection
from urllib.parse import urlsplit

import oss2
import oss2.credentials

from replication.errors import ErrorCode, ReplicationError
from replication.stores.credentials import AccessKey
from replication.stores.signing_keys import Credentials


class HostSigner(oss2.ProviderAuthV4):
    """Signs oss2's own requests with the host, so that a captured one is of no use elsewhere."""

    def _sign_request(
        self,
        req: oss2.http.Request,
        bucket_name: str,
        key: str,
        in_additional_headers: Collection[str] | None = None,
    ) -> None:
        req.headers["Host"] = urlsplit(req.url).netloc
        super()._sign_request(req, bucket_name, key, {"host", *(in_additional_headers or ())})


def provider(key: AccessKey | None) -> oss2.credentials.CredentialsProvider:
    """Return oss2's credentials for an access key; without one, from oss2's environment variables.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the variables are not set.
    """
    if key is not None:
        return oss2.credentials.StaticCredentialsProvider(key.id, key.secret, key.session_token)
    if not (os.environ.get("OSS_ACCESS_KEY_ID") and os.environ.get("OSS_ACCESS_KEY_SECRET")):
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            "the profile 'default' needs OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET "
            "in the environment",
        )
    return oss2.credentials.EnvironmentVariableCredentialsProvider()


def current(provider: oss2.credentials.CredentialsProvider) -> Credentials:
    """Return the credentials to sign with now.

    Raises:
        oss2.exceptions.ClientError: the provider has none any more.
    """
    found = provider.get_credentials()
    return Credentials(
        found.get_access_key_id(),
        found.get_access_key_secret(),
        found.get_security_token() or "",
    )
