"""What our own records tell of a replica: the ETags that both sides had at its last copy."""

import json
from collections.abc import Sequence

from django.db import connection

from replication.models import ReplicationRule
from replication.sweep.merging import Pair


def recorded_copies(rule: ReplicationRule, pairs: Sequence[Pair]) -> set[str]:
    """The keys whose both sides are as our last job of the key left them."""
    listed = [
        {"key": pair.key, "source": pair.source.etag, "replica": pair.replica.etag}
        for pair in pairs
        if pair.source is not None and pair.replica is not None and "\0" not in pair.key
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT listed.key
            FROM json_to_recordset(%s) AS listed (key text, source text, replica text)
            JOIN LATERAL (
                SELECT source_etag, destination_etag FROM replication_job AS job
                WHERE job.rule_id = %s AND job.key = listed.key AND job.state = 'completed'
                ORDER BY job.finalized_at DESC LIMIT 1
            ) AS last ON true
            WHERE last.source_etag = listed.source AND last.source_etag <> ''
              AND upper(last.destination_etag) = upper(listed.replica)
              AND last.destination_etag <> ''
            """,
            [json.dumps(listed), rule.pk],
        )
        return {key for (key,) in cursor.fetchall()}
