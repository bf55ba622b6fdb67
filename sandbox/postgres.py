"""A temporary PostgreSQL that ends with the process that started it."""

import os
import pwd
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from sandbox.child import Child, StartError, on_a_free_port
from sandbox.postgres_binaries import Binaries, find_binaries
from sandbox.server import Server

_NAME = "s3sync"  # of both the superuser and the database
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}  # so PGDATA, PGPORT etc. are not inherited
_POLL_SECONDS = 0.05
_ADVICE = "Put another PostgreSQL's initdb first on PATH, or set DATABASE_URL to a running server."


class Postgres(Server):
    """A private PostgreSQL server on a loopback port, with an empty database.

        with Postgres(fsync=False) as postgres:
            psycopg.connect(postgres.url)

    `fsync=False` is for tests: their data need not survive a power cut. The demo leaves `fsync` on,
    because the lag that it shows includes the wait for the disk at each commit.

    The server requires a random password, new at each start, although it listens on 127.0.0.1
    alone: other users of the machine can reach that address, and PostgreSQL's superuser can run
    programs.

    A server that has an `original` begins with that one's password and databases. The original must
    be at rest.
    """

    def __init__(
        self,
        *,
        fsync: bool = True,
        max_connections: int = 200,
        binaries: Binaries | None = None,
        original: "Postgres | None" = None,
    ) -> None:
        self._original = original
        self._binaries = binaries or find_binaries()
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(max_connections),
            "max_prepared_transactions": "5",
            "fsync": str(fsync),
            "full_page_writes": str(fsync),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        self._password: str = original._password if original else secrets.token_hex(16)
        self._user = server_user()

    @property
    def url(self) -> str:
        """The value for DATABASE_URL."""
        return self._url(_NAME)

    @property
    def port(self) -> int:
        """The port of the server, or of the standby that has taken its place."""
        return self._port

    def restart(self) -> None:
        """Crash the server, as `pg_ctl stop -m immediate` does; start it again on the same port."""
        self.child.stop(signal.SIGQUIT)
        self._listen_on(self._port)

    def rest(self) -> None:
        """Stop the server; its files stay until the context ends."""
        self.child.stop()

    @contextmanager
    def standby(self) -> Iterator[None]:
        """A synchronous standby beside the server; on exit, it takes the place of the server.

        On exit the server has crashed, and the standby listens on another port. It has every commit
        that the server confirmed.
        """
        folder = self._new_folder("standby")
        done = self._run_as_server_user(
            *(self._binaries.folder / "pg_basebackup", "--pgdata", folder, "--no-sync"),
            *("--dbname", self._url("postgres"), "--checkpoint=fast", "--write-recovery-conf"),
        )
        if done.returncode != 0:
            raise StartError(f"pg_basebackup failed:\n{done.stdout}{done.stderr}")
        started: dict[int, Child] = {}
        on_a_free_port(lambda port: started.update({port: self._serve(folder, port)}))
        try:
            with self._administrator() as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                while not connection.execute(
                    "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
                ).fetchone():
                    time.sleep(_POLL_SECONDS)
            yield
        finally:
            self.child.stop(signal.SIGQUIT)
            self._data = folder
            [(self._port, self._child)] = started.items()
        with self._administrator() as connection:
            connection.execute("SELECT pg_promote()")

    def _administrator(self) -> psycopg.Connection:
        return psycopg.connect(self._url("postgres"), autocommit=True)

    def _url(self, database: str, *, port: int | None = None) -> str:
        place = f"127.0.0.1:{port or self._port}"
        return f"postgresql://{_NAME}:{self._password}@{place}/{database}"

    def _start(self) -> None:
        if self._user:
            self.directory.chmod(0o711)
            self._make_binaries_reachable(self._user)
        if self._original:
            self._copy(self._original)
            on_a_free_port(self._listen_on)
            return
        self._initialise()
        on_a_free_port(self._listen_on)
        with self._administrator() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_NAME)))

    def _copy(self, original: "Postgres") -> None:
        self._data = self._new_folder("data")
        done = self._run_as_server_user("cp", "--archive", f"{original._data}/.", self._data)
        if done.returncode != 0:
            raise StartError(f"the original could not be copied:\n{done.stderr}")

    def _initialise(self) -> None:
        self._data = self._new_folder("data")
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._user:
            os.chown(password_file, self._user.pw_uid, self._user.pw_gid)
        done = self._run_as_server_user(
            *(self._binaries.folder / "initdb", "--pgdata", self._data, "--no-sync"),
            *("--username", _NAME, "--pwfile", password_file, "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C"),
        )
        password_file.unlink()
        if done.returncode != 0:
            raise StartError(f"initdb failed:\n{done.stdout}{done.stderr}\n{_ADVICE}")

    def _new_folder(self, name: str) -> Path:
        folder = self.directory / name
        folder.mkdir(mode=0o700)
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        return folder

    def _make_binaries_reachable(self, user: pwd.struct_passwd) -> None:
        try:
            self._run_as_server_user(self._binaries.folder / "postgres", "--version")
        except PermissionError:
            # The binaries are in a folder that only root can enter, such as a checkout in /root.
            self._binaries = self._binaries.copied_to(self.directory / "postgres", owner=user)

    def _run_as_server_user(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=[] if self._user else None,
            env=_ENVIRONMENT,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )

    def _listen_on(self, port: int) -> None:
        self._port = port
        self._child = self._serve(self._data, port)

    def _serve(self, data: Path, port: int) -> Child:
        """Start a server, and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        child = Child(
            [self._binaries.folder / "postgres", "-D", data, f"--port={port}", *settings],
            log=self.directory / "postgres.log",
            env=_ENVIRONMENT,
            user=self._user,
            cwd=self.directory,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients to disconnect
        )
        child.await_ready(lambda: self._answers(port), advice=_ADVICE)
        return child

    def _answers(self, port: int) -> bool:
        try:
            psycopg.connect(self._url("postgres", port=port), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def server_user() -> pwd.struct_passwd | None:
    """The user to run the server as if this process runs as root, which PostgreSQL refuses.

    None means the current user.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartError(
        "PostgreSQL does not run as root: add a user `postgres`, or run as another user."
    )
