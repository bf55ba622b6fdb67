"""A database that refuses jobs, by triggers on the table of jobs."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def failing_commits() -> Iterator[None]:
    """The database accepts jobs, but fails to commit them, as if it were away."""
    with _function_refuse(error_code="XX000", message="refused"):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON replication_transferjob
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
                """
            )
        yield


@contextmanager
def refusing(key: str) -> Iterator[None]:
    """The database refuses a job for this key, with an error that no code expects."""
    with _function_refuse(error_code="22000", message="poison"):
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                CREATE TRIGGER refuse BEFORE INSERT ON replication_transferjob
                    FOR EACH ROW WHEN (NEW.key = '{key}') EXECUTE FUNCTION refuse()
                """
            )
        yield


@contextmanager
def _function_refuse(*, error_code: str, message: str) -> Iterator[None]:
    """A trigger function that raises an error; dropped on exit, with its triggers."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION USING ERRCODE = '{error_code}', MESSAGE = '{message}';
            END $$
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
