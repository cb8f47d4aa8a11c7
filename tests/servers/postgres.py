"""PostgreSQL: one cluster for the session, a database of its own for each who asks."""

import itertools
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.servers.server import Missing, Server

_WHERE = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt", "/usr/local/opt")
PASSWORD = "s3cret/word@100%"
"""Of the cluster's only user: with characters that a URL has to escape."""


def _binaries() -> tuple[str, str]:
    for folder in (None, *_folders()):
        found = [shutil.which(name, path=folder) for name in ("initdb", "postgres")]
        if found[0] and found[1]:
            return found[0], found[1]
    raise Missing("PostgreSQL's initdb and postgres are missing; install them: apt install postgresql")


def _folders() -> list[str]:
    """The newest first. Debian keeps them off the PATH."""
    found = [path for where in _WHERE for path in Path(where).glob("*/bin")]

    def version(path: Path) -> int:
        digits = "".join(filter(str.isdigit, path.parent.name))
        return int(digits or 0)

    return [str(path) for path in sorted(found, key=version, reverse=True)]


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise Missing(
        "PostgreSQL refuses to run as root, and there is no user nobody; run the tests as another user"
    )


class Postgres(Server):
    """A cluster that keeps its promises: fsync is on, passwords are asked for."""

    name = "postgres"
    orderly = signal.SIGINT  # fast: without waiting for clients to go
    at_once = signal.SIGQUIT  # immediate: with its children

    def __init__(self) -> None:
        self._initdb, self._postgres = _binaries()
        self.user = _other_user()
        self._numbers = itertools.count(1)
        super().__init__()

    def prepare(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self.user is not None:
            shutil.chown(password, self.user)
        self.run(
            self._initdb,
            "--pgdata=data",
            "--username=shop",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "on",
            "max_connections": 200,
            "shared_buffers": "32MB",
        }
        command = [self._postgres, "-D", "data"]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def again(self, said: str) -> bool:
        return "shared memory block" in said or "could not bind" in said

    def url(self, database: str) -> str:
        """Return the URL of a database, password included."""
        return f"postgresql://shop:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside of any transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as db:
            cursor = db.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def schema(self) -> str:
        """Return the URL of a store that nobody has used yet."""
        return f"{self.url('postgres')}?schema=s{next(self._numbers)}"

    def database(self) -> str:
        """Make an empty database, and return its name."""
        name = f"db{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name
