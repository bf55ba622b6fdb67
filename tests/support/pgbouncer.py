"""A real PgBouncer in transaction mode before the test's database."""

import os
import shutil
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from django.db import connection

from sandbox.child import Child, on_a_free_port
from sandbox.postgres import server_user
from sandbox.server import Server

INSTALL = "PgBouncer is not installed; on Debian, run: apt install pgbouncer"
POOL_SIZE = 3  # fewer than a cluster has clients
# Debian installs it among the daemons, which are not on everyone's PATH.
PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"


def find_pgbouncer() -> Path:
    """The program; without it the test is skipped, but fails where CI is set."""
    found = shutil.which("pgbouncer", path=PLACES)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(INSTALL)
    return Path(found)


class PgBouncer(Server):
    """Has up to POOL_SIZE connections to each database of `database_url`'s server, and lends them.

    Its own clients log in as that URL says.
    """

    def __init__(self, database_url: str) -> None:
        self._program = find_pgbouncer()
        self._database = urlsplit(database_url)
        self._user = server_user()  # PgBouncer refuses to run as root

    @property
    def url(self) -> str:
        """DATABASE_URL by way of PgBouncer."""
        return self.url_of(self._database.path.removeprefix("/"))

    def url_of(self, name: str) -> str:
        """The same for another database of the server."""
        login = self._database.netloc.rpartition("@")[0]
        return f"postgresql://{login}@127.0.0.1:{self.port}/{name}"

    @staticmethod
    def server_connections() -> int:
        """How many connections to the test's database PgBouncer has, or has left behind."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'app - 127.0.0.1:%%'"  # application_name_add_host
            )
            return int(cursor.fetchone()[0])

    def restart(self) -> None:
        """Kill it, so that all clients lose their connections; start it again on the same port."""
        self.child.stop()
        self._listen_on(self.port)

    def _start(self) -> None:
        self.directory.chmod(0o711)
        on_a_free_port(self._listen_on)

    def _listen_on(self, port: int) -> None:
        self.port = port
        database = self._database
        user, password = unquote(database.username or ""), unquote(database.password or "")
        users = self._write("users.txt", f'"{user}" "{password}"\n')
        configuration = self._write(
            "pgbouncer.ini",
            f"""
            [databases]
            * = host={database.hostname} port={database.port or 5432}
            [pgbouncer]
            pool_mode = transaction
            default_pool_size = {POOL_SIZE}
            max_client_conn = 200
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = scram-sha-256
            auth_file = {users}
            server_login_retry = 1
            log_stats = 0
            application_name_add_host = 1
            """.replace("            ", ""),
        )
        child = Child(
            [self._program, configuration],
            log=self.directory / "pgbouncer.log",
            env={"PATH": os.defpath},
            user=self._user,
            cwd=self.directory,
            stop_signal=signal.SIGKILL,  # it has nothing to save
        )
        self._child = child
        child.await_ready(self._answers, advice=INSTALL)

    def _write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(text)
        if self._user:
            os.chown(file, self._user.pw_uid, self._user.pw_gid)
        return file

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
