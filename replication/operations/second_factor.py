"""The second factor of logins with a password: codes of an authenticator app, and recovery codes.

django-otp keeps the app's secret and takes each code once. Recovery codes are 80 random bits, of
which only a hash is stored.
"""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from replication.models import ActorKind, AuditAction, RecoveryCode
from replication.operations import audit
from replication.operations.audit import Actor, recorded

RECOVERY_CODES = 10
_RECOVERY_BYTES = 10
_DEVICE = "authenticator app"

_CODE = re.compile(r"[0-9]{6}")
_SEPARATORS = re.compile(r"[\s-]+")


def is_set_up(user: User) -> bool:
    """Whether logins of this user need a code."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


def begin(user: User, key: str = "") -> TOTPDevice:
    """A device with this key in hex, or with a new one, for the user's app; it is not stored.

    It counts once a code of it was confirmed. Until then its key is the session's alone: who
    opened the page in another session must not know what the user confirms.
    """
    return TOTPDevice(user=user, name=_DEVICE, **({"key": key} if key else {}))


def secret_text(device: TOTPDevice) -> str:
    """The secret for people who can't scan it: base32, in groups of four."""
    return _grouped(base64.b32encode(device.bin_key).decode())


def confirm(user: User, key: str, code: str) -> list[str] | None:
    """Make the begun key count, if this is a code of it. Returns new recovery codes."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # of two pages, one sets it up
        begun = begin(user, key)
        if is_set_up(user) or not _takes_first(begun, code):
            return None
        with recorded(_actor(user), AuditAction.FACTOR_SET, about=_about([user])) as record:
            begun.save()
            codes = _new_recovery_codes(user)
            record.affected = 1
    return codes


def accepts(user: User, code: str) -> bool:
    """Whether this is a code of the user's app, or a recovery code; each counts once."""
    with transaction.atomic():
        device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).first()
        if device is None:
            return False
        return _takes(device, code) or _takes_recovery_code(user, code)


def device_of(user: User) -> TOTPDevice | None:
    """What a session of the user is marked with, once it has passed."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


def recovery_codes_left(user: User) -> int:
    return RecoveryCode.objects.filter(user=user).count()


def remove(users: Iterable[User], *, by: Actor) -> int:
    """Have these users log in without a code again. Returns how many needed one before."""
    users = list(users)
    about = _about(users)
    with transaction.atomic(), recorded(by, AuditAction.FACTOR_REMOVED, about=about) as record:
        devices = TOTPDevice.objects.filter(user__in=users)
        record.affected = removed = devices.filter(confirmed=True).count()
        devices.delete()
        RecoveryCode.objects.filter(user__in=users).delete()
    return removed


def _takes_first(device: TOTPDevice, code: str) -> bool:
    """Whether this is a code of a device that is not stored; it will not count once more."""
    text = _SEPARATORS.sub("", code)
    if not _CODE.fullmatch(text):
        return False
    otp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    otp.time = time.time()
    if not otp.verify(int(text), device.tolerance):
        return False
    device.drift, device.last_t = otp.drift, otp.t()
    return True


def _takes(device: TOTPDevice, code: str) -> bool:
    text = _SEPARATORS.sub("", code)
    return bool(_CODE.fullmatch(text) and device.verify_token(text))


def _takes_recovery_code(user: User, code: str) -> bool:
    used, _ = RecoveryCode.objects.filter(user=user, sha256=_sha256(code)).delete()
    if not used:
        return False
    about = f"{_about([user])}; {recovery_codes_left(user)} left"
    with recorded(_actor(user), AuditAction.RECOVERY_USED, about=about) as record:
        record.affected = 1
    return True


def _new_recovery_codes(user: User) -> list[str]:
    codes = [
        _grouped(base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode())
        for _ in range(RECOVERY_CODES)
    ]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, sha256=_sha256(c)) for c in codes)
    return codes


def _sha256(code: str) -> str:
    text = _SEPARATORS.sub("", code).upper()
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _grouped(text: str) -> str:
    return "-".join(re.findall(".{1,4}", text))


def _about(users: list[User]) -> str:
    return audit.describe("users", [user.username for user in users])


def _actor(user: User) -> Actor:
    return Actor(ActorKind.USER, user.username)
