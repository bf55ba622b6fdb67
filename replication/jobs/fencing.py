"""Fences off claims that a restored database does not know of.

A database that lost its last commits gives out the same fencing tokens once more. A lane of before
that still runs, on a host that was cut off, would then settle another lane's job as its own.
"""

from django.db import connection

from replication.jobs import uploads

# More than the claims of one job, and few enough for 2,000 restores.
CLAIMS = 1_000_000


def fence_off_claims() -> None:
    """Raise the tokens of all jobs and parts that can be claimed above those that were given out.

    No lane may run. A running job is taken from its lane of before, and rescued at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob
            SET token = token + %s,
                lease_expires_at = CASE WHEN state = 'running' THEN now() END
            WHERE state IN ('pending', 'running', 'failed')
            """,
            [CLAIMS],
        )
    uploads.fence_off_claims(CLAIMS)
