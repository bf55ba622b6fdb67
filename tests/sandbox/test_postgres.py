import shutil
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from sandbox.child import StartError
from sandbox.postgres import Postgres
from sandbox.postgres_binaries import Binaries, binaries_from_wheel, find_binaries
from tests.sandbox.launcher import launcher, wait_until


def scalar(url, query):
    with psycopg.connect(url) as connection:
        ((value,),) = connection.execute(query)
        return value


def refuses_connections(url):
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture(scope="module")
def postgres():
    with Postgres(fsync=False) as server:
        yield server


def test_the_url_points_to_an_empty_database_in_utf8(postgres):
    assert scalar(postgres.url, "SELECT current_database()") == "s3sync"
    assert scalar(postgres.url, "SHOW server_encoding") == "UTF8"
    assert scalar(postgres.url, "SELECT count(*) FROM pg_stat_user_tables") == 0


def test_it_listens_on_loopback_only_and_requires_its_password(postgres):
    assert scalar(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
    assert scalar(postgres.url, "SHOW unix_socket_directories") == ""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url, password="guessed")


def test_fsync_is_as_requested(postgres):
    assert scalar(postgres.url, "SHOW fsync") == "off"
    with Postgres() as durable:
        assert scalar(durable.url, "SHOW fsync") == "on"


def test_a_standby_takes_the_place_of_the_server_with_every_commit():
    with Postgres(fsync=False) as server:
        with server.standby(), psycopg.connect(server.url, autocommit=True) as connection:
            before = server.url
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        assert refuses_connections(before)
        assert scalar(server.url, "SELECT number FROM kept") == 1
        with psycopg.connect(server.url) as connection:
            wait_until(lambda: not scalar(server.url, "SELECT pg_is_in_recovery()"))
            connection.execute("INSERT INTO kept VALUES (2)")


def test_a_restart_breaks_connections_and_keeps_committed_data(postgres):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        postgres.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert scalar(postgres.url, "SELECT number FROM kept") == 1


def test_a_server_restarted_from_a_thread_outlives_the_thread(postgres):
    thread = threading.Thread(target=postgres.restart)
    thread.start()
    thread.join()
    assert scalar(postgres.url, "SELECT 1") == 1
    assert postgres.child.is_running()


def test_stopping_it_leaves_no_process_and_no_folder():
    with Postgres(fsync=False) as server:
        assert server.directory.is_dir()
    assert not server.child.is_running()
    assert refuses_connections(server.url)
    assert not server.directory.exists()


def test_a_context_left_open_ends_with_its_process():
    program = """if True:
        from sandbox.postgres import Postgres
        server = Postgres(fsync=False).__enter__()
        print(server.url, server.directory, flush=True)
        input()
    """
    with launcher(program) as (process, line):
        url, directory = line.split()
        process.communicate("\n", timeout=90)
        assert refuses_connections(url)
        assert not Path(directory).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can signal a parent's death")
def test_it_ends_when_its_parent_is_killed():
    program = """if True:
        from sandbox.postgres import Postgres
        with Postgres(fsync=False) as server:
            print(server.url, server.directory, flush=True)
            input()
    """
    with launcher(program) as (process, line):
        url, directory = line.split()
        assert scalar(url, "SELECT 1") == 1
        process.kill()
        wait_until(lambda: refuses_connections(url))
        wait_until(lambda: not Path(directory, "data", "postmaster.pid").exists())
        shutil.rmtree(directory)


def test_a_failed_start_shows_the_log_and_leaves_nothing(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        program = folder / name
        program.write_text("#!/bin/sh\necho disk on fire\nexit 1\n")
        program.chmod(0o755)
    server = Postgres(binaries=Binaries(folder=folder, tree=tmp_path))
    with pytest.raises(StartError, match=r"(?s)disk on fire.*DATABASE_URL"), server:
        pass
    assert not server.directory.exists()


def test_the_wheel_is_used_if_no_postgresql_is_installed(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_binaries() == binaries_from_wheel()
    with Postgres(fsync=False) as server:
        assert scalar(server.url, "SHOW server_version").startswith("18.")
