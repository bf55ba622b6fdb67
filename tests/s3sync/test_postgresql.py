"""No statement waits for ever, also on a connection that looks alive and passes nothing on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from s3sync.postgresql.base import DatabaseWrapper
from tests.support.processes import eventually
from tests.support.processes import test_database_url as database_url
from tests.support.proxy import UnreliableProxy

pytestmark = pytest.mark.django_db(transaction=True)

STATEMENT_SECONDS = 0.5


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(DatabaseWrapper, "statement_seconds", STATEMENT_SECONDS)
    connection.close()
    yield
    connection.close()


@contextmanager
def by_proxy() -> Iterator[UnreliableProxy]:
    """Lead this thread's database connection through a proxy."""
    direct = connection.settings_dict
    with UnreliableProxy(int(direct["PORT"])) as proxy:
        connection.close()
        connection.settings_dict = {**direct, "HOST": "127.0.0.1", "PORT": proxy.port}
        try:
            yield proxy
        finally:
            connection.close()
            connection.settings_dict = direct


def ask() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        [answer] = cursor.fetchone()
    return int(answer)


@pytest.mark.usefixtures("deadline")
def test_a_statement_on_a_frozen_connection_is_given_up_and_a_new_connection_works() -> None:
    with by_proxy() as proxy:
        assert ask() == 1
        proxy.freeze()
        with pytest.raises(OperationalError, match=r"did not answer a statement within 0\.5 s"):
            ask()
        connection.close()
        assert ask() == 1


@pytest.mark.usefixtures("deadline")
def test_a_commit_on_a_frozen_connection_is_given_up() -> None:
    with by_proxy() as proxy:
        with pytest.raises(OperationalError, match="did not answer"), transaction.atomic():
            assert ask() == 1
            proxy.freeze()
        assert ask() == 1


@pytest.mark.usefixtures("deadline")
def test_a_statement_that_waits_for_a_lock_is_ended_in_the_server_too() -> None:
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7)")
        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(7) -- waits")
        waiting = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE query LIKE '%%-- waits' AND state = 'active'"
        )
        eventually(lambda: other.execute(waiting).fetchone() == (0,))


@pytest.mark.usefixtures("deadline")
def test_waiting_for_a_notification_has_its_own_limit() -> None:
    ask()
    began_at = time.monotonic()
    assert list(connection.connection.notifies(timeout=2 * STATEMENT_SECONDS)) == []
    assert time.monotonic() - began_at >= 2 * STATEMENT_SECONDS
    assert ask() == 1


def test_without_a_deadline_a_statement_may_take_its_time() -> None:
    """Commands such as `migrate` set none."""
    connection.close()
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7)")
        release = threading.Timer(
            2 * STATEMENT_SECONDS, lambda: other.execute("SELECT pg_advisory_unlock(7)")
        )
        release.start()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(7)")
        release.join()
    connection.close()


@pytest.mark.usefixtures("deadline")
def test_the_server_ends_a_transaction_whose_client_is_not_heard_any_more() -> None:
    """Else it would keep its locks."""
    with by_proxy() as proxy, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT pg_advisory_xact_lock(7)")
        proxy.freeze()
        with psycopg.connect(database_url()) as other:
            other.execute("SELECT pg_advisory_lock(7)")
