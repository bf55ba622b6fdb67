"""Accepts each signature once, across all web processes, and notes when the last call came.

Why PostgreSQL holds the signatures, without a flush to disk: docs/decisions/signed-calls.md.
"""

from datetime import datetime

from django.db import connection, transaction

from replication.intake.signatures import MAX_SKEW_SECONDS, Signature
from replication.models import LambdaContact

# Until the signature is stale on every web server, even the one whose clock is furthest behind.
KEPT_SECONDS = 2 * MAX_SKEW_SECONDS


def take_once(signature: Signature) -> bool:
    """Return whether this signature is new, and record it; if so, note the contact with Lambda.

    Call it with verified signatures only: otherwise a caller without a key could fill the disk.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Other processes see the row anyway; only a crash of PostgreSQL may lose the last ones.
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(
            "INSERT INTO replication_signedcall (signature, expires_at) "
            "VALUES (%s, to_timestamp(%s)) ON CONFLICT DO NOTHING",
            [signature.digest, signature.signed_at + KEPT_SECONDS],
        )
        if not cursor.rowcount:
            return False
        # Writes, and locks the row, only once a minute.
        cursor.execute(
            "INSERT INTO replication_lambdacontact (id, heard_at) SELECT 1, now() "
            "WHERE NOT EXISTS (SELECT FROM replication_lambdacontact "
            "WHERE heard_at > now() - interval '1 minute') "
            "ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at"
        )
    return True


def lambda_heard_at() -> datetime | None:
    """When the last signed call came, to the minute; None if there was none."""
    return LambdaContact.objects.values_list("heard_at", flat=True).first()


def delete_expired(*, limit: int) -> int:
    """Delete at most `limit` expired signatures; returns how many it deleted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_signedcall WHERE signature IN ("
            "SELECT signature FROM replication_signedcall "
            "WHERE expires_at < now() ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)",
            [limit],
        )
        return cursor.rowcount
