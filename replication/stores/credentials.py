"""Credential profiles: the database names a profile, and the access keys are outside of it.

The profile `default` stands for each SDK's own credential chain (environment, shared files,
instance or pod role). Any other profile is read from a mounted folder or from the environment. A
rotated or corrected file takes effect with the next transfer, without a restart.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from replication.errors import ErrorCode, ReplicationError

DEFAULT_PROFILE = "default"
ACCESS_KEY_FIELDS = ("access_key_id", "access_key_secret", "session_token", "role_arn")


@dataclass(frozen=True)
class AccessKey:
    """Static credentials, optionally with a role to assume with them."""

    id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    role_arn: str = ""


def access_key(profile: str) -> AccessKey | None:
    """Return the access key of a profile; None for the default profile.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE; the detail names the locations that were searched.
    """
    if profile == DEFAULT_PROFILE:
        return None
    return _read_profile(profile, tuple(map(_fingerprint, _files(profile))))


def profile_value(profile: str, name: str) -> str:
    """Return a value of a profile that is not part of an access key, such as `notify_urls`.

    It is searched for in the same locations.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE; the detail names the locations that were searched.
    """
    folder = settings.S3SYNC.secrets_dir
    variable = f"S3SYNC_PROFILE_{profile.upper()}_{name.upper()}"
    file = Path(folder) / profile / name if folder else None
    if file is not None and _fingerprint(file):
        return _read(file, profile=profile)
    if value := os.environ.get(variable, ""):
        return value
    locations = [f"{variable} in the environment"]
    if file is not None:
        locations.append(f"the file {file}")
    raise ReplicationError(
        ErrorCode.CREDENTIAL_PROFILE, f"profile {profile!r} needs " + ", or ".join(locations)
    )


def _files(profile: str) -> list[Path]:
    folder = settings.S3SYNC.secrets_dir
    return [Path(folder) / profile / name for name in ACCESS_KEY_FIELDS] if folder else []


def _fingerprint(file: Path) -> tuple[int, ...]:
    """Changes whenever the file is rewritten, replaced, or swapped behind a symbolic link."""
    try:
        found = file.stat()
    except OSError:
        return ()  # the file does not exist, or we may not see it
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _read_profile(profile: str, _fingerprints: tuple[tuple[int, ...], ...]) -> AccessKey:
    folder = settings.S3SYNC.secrets_dir
    prefix = f"S3SYNC_PROFILE_{profile.upper()}_"
    mounted = {
        file.name: _read(file, profile=profile) for file in _files(profile) if _fingerprint(file)
    }
    key = AccessKey(
        *(
            mounted.get(name) or os.environ.get(prefix + name.upper(), "")
            for name in ACCESS_KEY_FIELDS
        )
    )
    if key.id and key.secret:
        return key
    locations = [f"{prefix}ACCESS_KEY_ID and {prefix}ACCESS_KEY_SECRET in the environment"]
    if folder is not None:
        locations.append(f"the files access_key_id and access_key_secret in {folder}/{profile}")
    raise ReplicationError(
        ErrorCode.CREDENTIAL_PROFILE,
        f"profile {profile!r} needs " + ", or ".join(locations),
    )


def _read(file: Path, *, profile: str) -> str:
    try:
        return file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            f"profile {profile!r}: {file} can't be read: {type(error).__name__}",
        ) from error
