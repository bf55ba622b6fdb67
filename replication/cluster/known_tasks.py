"""The functions that a cluster runs. It refuses all others, whatever stands in its queue."""

from dataclasses import dataclass

from django_q.signing import BadSignature, SignedPackage

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


def refusal(payload: str) -> Refusal | None:
    """Judge the payload of a queued task; None if the cluster may run it.

    The signature is checked before the payload is unpickled, and the function's name before the
    function is imported.
    """
    try:
        task = SignedPackage.loads(payload)
    except BadSignature:
        return Refusal(
            "it is not signed with this host's S3SYNC_SECRET_KEY",
            "compare S3SYNC_SECRET_KEY on all hosts: it must be the same. If it is, some other "
            "program writes to the table django_q_ormq: find it, and change the password of "
            "DATABASE_URL",
        )
    except Exception as error:  # one bad task must not hold up the others
        return Refusal(
            f"its content can't be read ({type(error).__name__}: {error})",
            "if hosts run different versions of s3sync, finish the upgrade",
        )
    function = task.get("func") if isinstance(task, dict) else None
    if isinstance(function, str) and function in NAMES:
        return None
    return Refusal(
        f"a cluster does not run the function {str(function)[:SHOWN_CHARACTERS]!r}",
        "if hosts run different versions of s3sync, finish the upgrade. If not, a program that "
        "knows S3SYNC_SECRET_KEY has queued the task: find it, and change S3SYNC_SECRET_KEY",
    )
