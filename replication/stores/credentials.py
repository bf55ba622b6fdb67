"""Credential profiles: where a name in the database leads to access keys, which are never there.

The profile `default` stands for each SDK's own chain (environment, shared files, instance or
pod role). Any other profile is read from a mounted folder or from the environment; a file that
was rotated or mended takes effect with the next transfer, without a restart.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from replication.errors import ErrorCode, ReplicationError

DEFAULT_PROFILE = "default"
VALUES = ("access_key_id", "access_key_secret", "session_token", "role_arn")


@dataclass(frozen=True)
class AccessKey:
    """Static credentials, optionally with a role to assume by them."""

    id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    role_arn: str = ""


def access_key(profile: str) -> AccessKey | None:
    """The access key of a profile; None for the default profile.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, saying where the key was looked for.
    """
    if profile == DEFAULT_PROFILE:
        return None
    return _read_profile(profile, tuple(map(_stamp, _files(profile))))


def profile_value(profile: str, name: str) -> str:
    """One value of a profile that is no access key, e.g. `notify_urls`, from the same places.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, saying where it was looked for.
    """
    folder = settings.S3SYNC.secrets_dir
    variable = f"S3SYNC_PROFILE_{profile.upper()}_{name.upper()}"
    file = Path(folder) / profile / name if folder else None
    if file is not None and _stamp(file):
        return _read(file, profile=profile)
    if value := os.environ.get(variable, ""):
        return value
    places = [f"{variable} in the environment"]
    if file is not None:
        places.append(f"the file {file}")
    raise ReplicationError(
        ErrorCode.CREDENTIAL_PROFILE, f"profile {profile!r} needs " + ", or ".join(places)
    )


def _files(profile: str) -> list[Path]:
    folder = settings.S3SYNC.secrets_dir
    return [Path(folder) / profile / name for name in VALUES] if folder else []


def _stamp(file: Path) -> tuple[int, ...]:
    """Differs whenever the file does: rewritten, replaced, or swapped behind a link."""
    try:
        found = file.stat()
    except OSError:
        return ()  # not there, as far as we can see
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _read_profile(profile: str, _stamps: tuple[tuple[int, ...], ...]) -> AccessKey:
    folder = settings.S3SYNC.secrets_dir
    prefix = f"S3SYNC_PROFILE_{profile.upper()}_"
    mounted = {file.name: _read(file, profile=profile) for file in _files(profile) if _stamp(file)}
    key = AccessKey(
        *(mounted.get(name) or os.environ.get(prefix + name.upper(), "") for name in VALUES)
    )
    if key.id and key.secret:
        return key
    places = [f"{prefix}ACCESS_KEY_ID and {prefix}ACCESS_KEY_SECRET in the environment"]
    if folder is not None:
        places.append(f"the files access_key_id and access_key_secret in {folder}/{profile}")
    raise ReplicationError(
        ErrorCode.CREDENTIAL_PROFILE,
        f"profile {profile!r} needs " + ", or ".join(places),
    )


def _read(file: Path, *, profile: str) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            f"profile {profile!r}: {file} can't be read: {type(error).__name__}",
        ) from error
