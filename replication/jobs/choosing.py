"""The statement of a claim: it chooses jobs without locks, and locks the jobs that it takes.

The pending jobs of one rule with one priority are a backlog here. The statement visits backlogs in
the order of the index job_turns, from one to the next: by priority, and within a priority from the
rule after the last turn, around to that rule. It stops when it has found as many backlogs with a
due job as it may take jobs, so it reads no more of them than it needs. Then it deals: the first job
of each backlog, then the second of each, and so on. The result is how many jobs of each backlog to
take, and only now are so many locked. Jobs that others have locked meanwhile are passed over, for
later ones of the same backlog.

While a snapshot is open, claimed jobs stay in the index, and to find a backlog's first job is to
read past them. Where a lane has reached so far (turns.py) is then taken for the backlog's begin.
"""

from collections.abc import Callable

# A destination that throttled has a `width`: how many transfers it may have at once. The width
# doubles every WIDTH_DOUBLES_SECONDS, and does not apply any longer after WIDTH_FORGOTTEN_SECONDS.
WIDTH_DOUBLES_SECONDS = 2.0
WIDTH_FORGOTTEN_SECONDS = 30.0  # 2^15 times the width: in effect no limit, and still an integer

# SQL for a row `destination`: whether its width applies, and how many transfers that allows now.
WIDTH_APPLIES = f"destination.width_at > now() - interval '{WIDTH_FORGOTTEN_SECONDS} s'"
WIDTH_NOW = (
    "floor(destination.width * 2 ^ (GREATEST(0, "
    f"extract(epoch FROM now() - destination.width_at)) / {WIDTH_DOUBLES_SECONDS}))"
)

# A destination that is not throttled, and how many more jobs may write to it (null: any number).
_TARGETS = f"""
    SELECT id, LEAST(
        CASE WHEN {WIDTH_APPLIES} THEN {WIDTH_NOW}
            - (SELECT count(*) FROM replication_transferjob AS writer
               JOIN replication_replicationrule AS its_rule ON its_rule.id = writer.rule_id
               WHERE writer.state = 'running' AND its_rule.destination_id = destination.id) END,
        floor(max_requests_per_second * extract(epoch FROM
            now() - GREATEST(requests_paced_until, now() - interval '1 s')))
    )::int AS room
    FROM replication_destination AS destination
    WHERE throttled_until IS NULL OR throttled_until <= now()
"""  # noqa: S608 - inserts our own constants only


_REACHED = """
    reached AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(reached)s)
            AS backlog (priority smallint, rule_id bigint, since timestamptz)
    ),
"""


def claim_statement(*, is_probe: bool, from_reached: bool = False) -> str:
    """The SQL that claims jobs; a probe claims only those of `only`, due or not, and also behind
    an open circuit. With `from_reached`, what was due before the lane's place in a backlog is
    passed over.

    Parameters: limit (of jobs to take), choice (of jobs to choose them from: as many, or more if
    others may take them), lane, lease (seconds), room (JSON: jobs by rule, if limited), after
    (JSON: rule by priority), begin (rule), reached (JSON: objects with priority, rule_id, since),
    only (ids), bytes (of the largest object whose size is known, or null).

    Each row has a visit (place, priority, rule), and of a job that was taken since when it was due,
    and what a lane needs; or nulls if no job of those that were chosen there was taken.
    """
    waits = "job.state = 'pending' AND job.delete_permit <> 'awaited'"
    rule_may_run = "rule.enabled AND rule.paused_at IS NULL"
    if is_probe:
        waits += " AND job.id = ANY(%(only)s)"
        is_due = "true"
    else:
        rule_may_run += " AND rule.parked_at IS NULL"
        is_due = "job.available_at <= now()"

    def first_backlog(condition: Callable[[str], str]) -> str:
        """The first backlog that meets the condition, which is of the table so named."""

        def in_index(before: str = "true") -> str:
            return f"""
                SELECT job.priority, job.rule_id, job.available_at AS since
                FROM replication_transferjob AS job
                WHERE {waits} AND {condition("job")} AND {before}
                ORDER BY job.priority, job.rule_id, job.available_at LIMIT 1
            """  # noqa: S608 - inserts our own constants only

        if not from_reached:
            return in_index()
        before_known = """
            (job.priority, job.rule_id) < (COALESCE(known.priority, 32767::smallint),
                                           COALESCE(known.rule_id, 9223372036854775807))
        """
        return f"""
            SELECT backlog.* FROM (SELECT) AS always
            LEFT JOIN LATERAL (
                SELECT * FROM reached WHERE {condition("reached")}
                ORDER BY reached.priority, reached.rule_id LIMIT 1
            ) AS known ON true
            CROSS JOIN LATERAL (
                ({in_index(before_known)})
                UNION ALL
                SELECT known.priority, known.rule_id, known.since WHERE known.rule_id IS NOT NULL
                ORDER BY priority, rule_id LIMIT 1
            ) AS backlog
        """  # noqa: S608 - inserts our own constants only

    next_of_priority = first_backlog(
        lambda job: (
            f"""
            {job}.priority = visit.priority AND {job}.rule_id > visit.rule_id
            AND (NOT visit.is_second_lap OR {job}.rule_id <= visit.start)
        """
        )
    )
    first_of_later_priority = first_backlog(
        lambda job: (
            f"""
            next.rule_id IS NULL AND NOT second_lap.begins AND {job}.priority > visit.priority
        """
        )
    )

    def due_jobs(backlog: str) -> str:
        # Before `since`, there are only index entries of dead rows, or what is passed over.
        return f"""
            SELECT job.id, job.available_at FROM replication_transferjob AS job
            WHERE {waits} AND {is_due}
              AND job.priority = {backlog}.priority AND job.rule_id = {backlog}.rule_id
              AND job.available_at >= {backlog}.since
              AND (%(bytes)s IS NULL OR job.size_bytes IS NULL OR job.size_bytes <= %(bytes)s)
              -- OFFSET 0: a look for each job, as a join would read all running jobs for each.
              AND NOT EXISTS (SELECT FROM replication_transferjob AS writer
                              WHERE writer.rule_id = job.rule_id AND writer.key = job.key
                                AND writer.state = 'running' OFFSET 0)
            ORDER BY job.available_at
        """  # noqa: S608 - inserts our own constants only

    # A LIMIT %(choice)s that seems to be needless tells the planner how few rows there are.
    return f"""
        WITH RECURSIVE target AS MATERIALIZED ({_TARGETS}), {_REACHED if from_reached else ""}
        visit AS (
            SELECT 0 AS place, (-32768)::smallint AS priority, 0::bigint AS rule_id,
                   NULL::timestamptz AS since,
                   -- Of the priority: where its first lap begins, and its first backlog.
                   0::bigint AS start, NULL::bigint AS first_rule_id,
                   NULL::timestamptz AS first_since, true AS is_second_lap,
                   -- Of the rule, if the backlog has a due job that may run: null if not.
                   NULL::bigint AS target_id, NULL::int AS target_room, NULL::int AS room,
                   -- Of the backlogs so far that have one.
                   ARRAY[]::bigint[] AS rules, ARRAY[]::bigint[] AS targets
            UNION ALL
            SELECT visit.place + 1, backlog.priority, backlog.rule_id, backlog.since,
                   backlog.start, backlog.first_rule_id, backlog.first_since, backlog.is_second_lap,
                   rule.target_id, rule.target_room, rule.room,
                   CASE WHEN rule.id IS NULL THEN visit.rules ELSE visit.rules || rule.id END,
                   CASE WHEN rule.id IS NULL THEN visit.targets
                       ELSE visit.targets || rule.target_id END
            FROM visit
            LEFT JOIN LATERAL ({next_of_priority}) AS next ON true
            CROSS JOIN LATERAL (SELECT next.rule_id IS NULL AND NOT visit.is_second_lap
                AND visit.first_rule_id <= visit.start AS begins) AS second_lap
            LEFT JOIN LATERAL ({first_of_later_priority}) AS later ON true
            CROSS JOIN LATERAL (SELECT COALESCE(
                (%(after)s::jsonb ->> later.priority::text)::bigint, %(begin)s) AS place) AS start
            CROSS JOIN LATERAL (
                SELECT visit.priority, next.rule_id, next.since, visit.start,
                       visit.first_rule_id, visit.first_since, visit.is_second_lap
                WHERE next.rule_id IS NOT NULL
                UNION ALL
                SELECT visit.priority, visit.first_rule_id, visit.first_since, visit.start,
                       visit.first_rule_id, visit.first_since, true
                WHERE second_lap.begins
                UNION ALL
                SELECT later.priority, start.place, NULL, start.place,
                       later.rule_id, later.since, false
                WHERE later.priority IS NOT NULL
            ) AS backlog
            LEFT JOIN LATERAL (
                SELECT rule.* FROM (
                    SELECT rule.id, target.id AS target_id, target.room AS target_room, LEAST(
                        (%(room)s::jsonb ->> rule.id::text)::int, target.room,
                        CASE WHEN rule.max_concurrency IS NOT NULL THEN rule.max_concurrency
                            - (SELECT count(*) FROM (
                                   SELECT FROM replication_transferjob AS writer
                                   WHERE writer.rule_id = rule.id AND writer.state = 'running'
                                   LIMIT rule.max_concurrency) AS writers) END
                    )::int AS room
                    FROM replication_replicationrule AS rule
                    JOIN target ON target.id = rule.destination_id
                    WHERE rule.id = backlog.rule_id AND {rule_may_run}
                    LIMIT 1
                ) AS rule
                CROSS JOIN LATERAL ({due_jobs("backlog")} LIMIT 1) AS job
                WHERE (rule.room IS NULL
                       OR rule.room > cardinality(array_positions(visit.rules, rule.id)))
                  AND (rule.target_room IS NULL OR rule.target_room
                       > cardinality(array_positions(visit.targets, rule.target_id)))
            ) AS rule ON true
            WHERE cardinality(visit.rules) < %(choice)s
        ), backlog AS MATERIALIZED (
            -- All first jobs that are not behind in priority come before a backlog's second one.
            SELECT *, 1 + GREATEST(0, %(choice)s - count(*) OVER (ORDER BY priority)) AS most
            FROM visit WHERE target_id IS NOT NULL
        ), share AS MATERIALIZED (
            SELECT place, priority, rule_id, since, count(*) AS jobs FROM (
              SELECT * FROM (
                SELECT *, row_number() OVER (PARTITION BY target_id
                                             ORDER BY priority, turn, place) AS target_turn
                FROM (
                  SELECT backlog.*,
                         row_number() OVER (PARTITION BY backlog.place ORDER BY job.available_at)
                             AS turn,
                         row_number() OVER (PARTITION BY backlog.rule_id
                                            ORDER BY backlog.priority, job.available_at)
                             AS rule_turn
                  FROM backlog CROSS JOIN LATERAL (
                      SELECT * FROM ({due_jobs("backlog")} LIMIT %(choice)s) AS job
                      LIMIT LEAST(backlog.room, backlog.most)
                  ) AS job
                ) AS of_rules
                WHERE room IS NULL OR rule_turn <= room
              ) AS of_targets
              WHERE target_room IS NULL OR target_turn <= target_room
              ORDER BY priority, turn, place LIMIT %(choice)s
            ) AS dealt
            GROUP BY place, priority, rule_id, since
        ), due AS MATERIALIZED (
            -- One share after the other: a LIMIT over a join without an ORDER BY locks no job that
            -- is not taken.
            SELECT share.place, job.id
            FROM (SELECT * FROM share ORDER BY place) AS share CROSS JOIN LATERAL (
                {due_jobs("share")} LIMIT share.jobs FOR NO KEY UPDATE OF job SKIP LOCKED
            ) AS job
            LIMIT %(limit)s
        ), taken AS (
            UPDATE replication_transferjob AS job
            SET state = 'running', claimed_by = %(lane)s, started_at = now(),
                token = job.token + 1,
                lease_expires_at = now() + make_interval(secs => %(lease)s)
            FROM due, replication_replicationrule AS rule
            WHERE job.id = due.id AND rule.id = job.rule_id
            RETURNING due.place, job.available_at,
                job.id, job.token, job.rule_id, job.key, job.attempt, job.attempt_limit,
                job.started_at, rule.version, job.ignores_filters,
                job.only_tags,
                CASE WHEN job.write_in_doubt_until > now() THEN job.write_in_doubt_until END
                    AS write_in_doubt_until,
                job.size_bytes
        )
        SELECT share.place, share.priority, share.rule_id, taken.available_at,
            taken.id, taken.token, taken.rule_id, taken.key, taken.attempt, taken.attempt_limit,
            taken.started_at, taken.version, taken.ignores_filters, taken.only_tags,
            taken.write_in_doubt_until, taken.size_bytes
        FROM share LEFT JOIN taken ON taken.place = share.place
        ORDER BY share.place
    """  # noqa: S608 - inserts our own constants only
