"""Has botocore renew temporary credentials at a time that suits their life.

By itself, botocore asks for new ones from 15 minutes before the end, and blocks each request from
10 minutes before. Credentials that live no longer than that are then renewed for each request.
"""

import time
from collections.abc import Callable
from typing import Any

from botocore.credentials import InstanceMetadataProvider, RefreshableCredentials
from botocore.exceptions import ClientError, CredentialRetrievalError

from replication.stores.renewal import (
    LAST_SECONDS,
    RETRY_SECONDS,
    RETRY_SECONDS_WITHOUT_CREDENTIALS,
    lead_seconds,
    log_failure,
)

# Errors of STS that end by themselves; other refusals need a person.
_TRANSIENT_CODES = {
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "IDPCommunicationError",
}


class TokenServiceError(CredentialRetrievalError):
    """The service that gives out temporary credentials did not answer, or could not."""


def renew_in_time(credentials: Any, *, profile: str) -> Any:
    """Let botocore credentials renew themselves in time; returns them.

    A renewal that fails is only logged while the last credentials live; after that
    TokenServiceError is raised, or the ClientError of a refusal.
    """
    # botocore has no public way to change these.
    if isinstance(credentials, RefreshableCredentials):
        _change(credentials, profile)
    return credentials


def _change(credentials: Any, profile: str) -> None:
    renew = credentials._refresh_using
    if isinstance(renew, _Renewal):
        return
    credentials._refresh_using = _Renewal(credentials, renew, profile=profile)
    if credentials._expiry_time is not None:
        _set_windows(credentials, credentials._seconds_remaining())


class _Renewal:
    """Replaces the function by which credentials are renewed. botocore calls it once at a time."""

    def __init__(
        self, credentials: Any, renew: Callable[[], dict[str, Any]], *, profile: str
    ) -> None:
        self._credentials = credentials
        self._renew = renew
        self._profile = profile
        self._failed: TokenServiceError | None = None
        self._retry_at = 0.0

    def __call__(self) -> dict[str, Any]:
        if self._failed is not None and time.monotonic() < self._retry_at:
            # Many transfers wait here: they must not ask one after the other.
            raise TokenServiceError(**self._failed.kwargs)
        try:
            metadata = self._renew()
        except ClientError as error:
            if not _is_transient(error):
                self._use_the_last_ones(error)
                raise
            raise self._unanswered(error) from error
        except Exception as error:  # also botocore's own, for an answer that it does not understand
            raise self._unanswered(error) from error
        if not metadata:  # the metadata service: its errors are logged, and no more
            raise self._unanswered("no answer of the metadata service")
        self._failed = None
        ends_at = self._credentials._expiry_datetime(metadata["expiry_time"])
        life = ends_at - self._credentials._time_fetcher()
        _set_windows(self._credentials, life.total_seconds())
        return metadata

    def _unanswered(self, why: object) -> TokenServiceError:
        self._failed = TokenServiceError(provider=self._credentials.method, error_msg=str(why))
        self._retry_at = time.monotonic() + RETRY_SECONDS_WITHOUT_CREDENTIALS
        self._use_the_last_ones(self._failed)
        return self._failed

    def _use_the_last_ones(self, error: Exception) -> None:
        """Sign with the last credentials while they live, and don't try again for each request."""
        if self._credentials._expiry_time is None:
            return  # there are none
        left = self._credentials._seconds_remaining()
        self._credentials._advisory_refresh_timeout = max(0.0, left - RETRY_SECONDS)
        if left > 0:
            log_failure(self._profile, str(error), seconds_left=left)


def _set_windows(credentials: Any, life_seconds: float) -> None:
    if credentials.method == InstanceMetadataProvider.METHOD:
        # The metadata service of EC2 gives new ones 5 minutes before the end or sooner. botocore
        # prolongs an end that is near, so what it says then is not their life. Its own windows
        # suit that.
        credentials._advisory_refresh_timeout = type(credentials)._advisory_refresh_timeout
        credentials._mandatory_refresh_timeout = type(credentials)._mandatory_refresh_timeout
        return
    credentials._advisory_refresh_timeout = lead_seconds(life_seconds)
    credentials._mandatory_refresh_timeout = min(LAST_SECONDS, life_seconds / 10)


def _is_transient(error: ClientError) -> bool:
    response: Any = error.response
    status = response["ResponseMetadata"].get("HTTPStatusCode", 0)
    return status >= 500 or status == 429 or response["Error"].get("Code") in _TRANSIENT_CODES
