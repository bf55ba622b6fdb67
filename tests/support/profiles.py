"""Credential profiles in the environment."""

import pytest

from replication.stores.signing_keys import Credentials


def use_profile(monkeypatch: pytest.MonkeyPatch, name: str, credentials: Credentials) -> None:
    """Give the profile of this name these credentials, until the test ends.

    A process reads a profile of the environment once, so the name must be the test's own.
    """
    prefix = f"S3SYNC_PROFILE_{name.upper()}"
    monkeypatch.setenv(f"{prefix}_ACCESS_KEY_ID", credentials.id)
    monkeypatch.setenv(f"{prefix}_ACCESS_KEY_SECRET", credentials.secret)
    monkeypatch.setenv(f"{prefix}_SESSION_TOKEN", credentials.token)
