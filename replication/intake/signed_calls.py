"""Each signature is taken once, whatever web process it comes to; and when the last one came.

Why that is in PostgreSQL, and yet not flushed to its disk: docs/decisions/signed-calls.md.
"""

from datetime import datetime

from django.db import connection, transaction

from replication.intake.signatures import MAX_SKEW_SECONDS, Signature
from replication.models import LambdaContact

# Until the web server whose clock is furthest behind takes it for stale, too.
KEPT_SECONDS = 2 * MAX_SKEW_SECONDS


def take_once(signature: Signature) -> bool:
    """Whether this call comes for the first time; it is noted that Lambda was heard from, then.

    Give it only what a key has made: whoever could write here without one could fill the disk.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Other processes see the row all the same; only PostgreSQL's crash may forget the last.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(
            "INSERT INTO replication_signedcall (signature, expires_at) "
            "VALUES (%s, to_timestamp(%s)) ON CONFLICT DO NOTHING",
            [signature.digest, signature.signed_at + KEPT_SECONDS],
        )
        if not cursor.rowcount:
            return False
        # A write, and the row's lock, once a minute only.
        cursor.execute(
            "INSERT INTO replication_lambdacontact (id, heard_at) SELECT 1, now() "
            "WHERE NOT EXISTS (SELECT FROM replication_lambdacontact "
            "WHERE heard_at > now() - interval '1 minute') "
            "ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at"
        )
    return True


def lambda_heard_at() -> datetime | None:
    """When the last signed call came, to the minute; None if there never was one."""
    return LambdaContact.objects.values_list("heard_at", flat=True).first()


def delete_expired(*, limit: int) -> int:
    """Forget so many signatures at most that are too old to be used again; how many it were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_signedcall WHERE signature IN ("
            "SELECT signature FROM replication_signedcall "
            "WHERE expires_at < now() ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)",
            [limit],
        )
        return cursor.rowcount
