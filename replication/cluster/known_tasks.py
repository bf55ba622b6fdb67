"""The functions that a cluster runs. It refuses all others, whatever stands in its queue."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django_q import core_signing
from django_q.conf import Conf
from django_q.signing import BadSignature, PickleSerializer, SignedPackage

NAMES = frozenset(
    f"replication.tasks.{function}"
    for function in (
        *("run_lane", "run_poller", "run_sweeper"),
        *("revive", "notify", "prune", "abort_uploads", "put_canaries"),
    )
)
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Refusal:
    """Why a cluster does not run a task, and what an operator should do about it."""

    reason: str
    fix: str


def checked(payload: str) -> str | Refusal:
    """Judge the payload of a queued task: the payload for django-q to run, or why it is refused.

    django-q knows S3SYNC_SECRET_KEY alone, so what is signed with another accepted key is signed
    anew. The signature is checked before the payload is unpickled, and the function's name before
    the function is imported.
    """
    try:
        task, is_signed_with_our_key = _opened(payload)
    except BadSignature:
        return Refusal(
            "it is not signed with this host's S3SYNC_SECRET_KEY, nor with one of its "
            "S3SYNC_SECRET_KEY_FALLBACKS",
            "compare S3SYNC_SECRET_KEY on all hosts: it must be the same, or among the fallbacks "
            "while it is exchanged. If it is, some other program writes to the table "
            "django_q_ormq: find it, and change the password of DATABASE_URL",
        )
    except Exception as error:  # one bad task must not hold up the others
        return Refusal(
            f"its content can't be read ({type(error).__name__}: {error})",
            "if hosts run different versions of s3sync, finish the upgrade",
        )
    function = task.get("func") if isinstance(task, dict) else None
    if isinstance(function, str) and function in NAMES:
        return payload if is_signed_with_our_key else str(SignedPackage.dumps(task))
    return Refusal(
        f"a cluster does not run the function {str(function)[:SHOWN_CHARACTERS]!r}",
        "if hosts run different versions of s3sync, finish the upgrade. If not, a program that "
        "knows S3SYNC_SECRET_KEY has queued the task: find it, and change S3SYNC_SECRET_KEY",
    )


def _opened(payload: str) -> tuple[Any, bool]:
    """The task of a payload, and whether it is signed with S3SYNC_SECRET_KEY itself.

    Raises:
        BadSignature: it is signed with none of our keys.
    """
    try:
        return SignedPackage.loads(payload), True
    except BadSignature:
        for key in settings.SECRET_KEY_FALLBACKS:
            try:
                return _opened_with(key, payload), False
            except BadSignature:
                continue
        raise


def _opened_with(key: str, payload: str) -> Any:
    # As SignedPackage.loads, which takes no key.
    return core_signing.loads(payload, key=key, salt=Conf.PREFIX, serializer=PickleSerializer)
