"""Credential profiles: the database names a profile, and the access keys are outside of it.

The profile `default` stands for each SDK's own credential chain (environment, shared files,
instance or pod role). Any other profile is read from a mounted folder or from the environment. A
rotated or corrected file takes effect with the next transfer, without a restart.
"""

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from replication.errors import ErrorCode, ReplicationError

DEFAULT_PROFILE = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
ACCESS_KEY_FIELDS = (
    "access_key_id",
    "access_key_secret",
    "session_token",
    "role_arn",
    "external_id",
)


@dataclass(frozen=True)
class AccessKey:
    """Static credentials, optionally with a role to assume with them."""

    id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    role_arn: str = ""
    external_id: str = ""


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
        ReplicationError: CREDENTIAL_PROFILE, if there is none; the detail names the locations that
            were searched.
    """
    value = find_profile_value(profile, name)
    if value is not None:
        return value
    raise ReplicationError(
        ErrorCode.CREDENTIAL_PROFILE,
        f"profile {profile!r} needs " + ", or ".join(locations(profile, name)),
    )


def find_profile_value(profile: str, name: str) -> str | None:
    """Return a value of a profile; None if it has none. An empty value is one.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if its file can't be read.
    """
    file = _file(profile, name)
    if file is not None and (fingerprint := _fingerprint(file)):
        return _content(profile, file, fingerprint)
    return os.environ.get(_variable(profile, name))


def locations(profile: str, name: str) -> list[str]:
    """Where a value of a profile is searched for, in an operator's words."""
    file = _file(profile, name)
    return [
        f"{_variable(profile, name)} in the environment",
        *([f"the file {file}"] if file is not None else []),
    ]


def _variable(profile: str, name: str) -> str:
    return f"S3SYNC_PROFILE_{profile.upper()}_{name.upper()}"


def _file(profile: str, name: str) -> Path | None:
    # Forms and files check names; whoever can write to the database alone does not pass them.
    if not _NAME.fullmatch(profile):
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            f"{profile!r} is not the name of a profile: lower-case letters, digits and underscores",
        )
    folder = settings.S3SYNC.secrets_dir
    return Path(folder) / profile / name if folder else None


@lru_cache(maxsize=256)
def _content(profile: str, file: Path, _fingerprint: tuple[int, ...]) -> str:
    return _read(file, profile=profile)


def _files(profile: str) -> list[Path]:
    files = [_file(profile, name) for name in ACCESS_KEY_FIELDS]
    return [file for file in files if file is not None]


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
