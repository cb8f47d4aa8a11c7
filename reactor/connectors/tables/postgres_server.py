"""The connection to a PostgreSQL server, and what its errors mean. All of it runs on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from reactor.connectors.tables.address import EXAMPLE, Address
from reactor.core import ArgumentError, TableError

R = TypeVar("R")
Db = psycopg.Connection[tuple[Any, ...]]

PATIENCE = 5.0
"""Seconds in which a lost connection is made anew, and in which others that are in the way may give way."""

LOCKED = 10
"""Seconds to wait for a lock that another session holds."""

# A server that is gone without a word (its machine, the network) is noticed within half a minute.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "reactor",
}
# Times without a zone mean the same wherever it runs; what is acknowledged is on the disk; a process that stands
# still in a transaction (stopped, or its machine asleep) loses it.
_SETTINGS = f"""
SELECT set_config('timezone', 'UTC', false), set_config('lock_timeout', '{LOCKED}s', false),
    set_config('idle_in_transaction_session_timeout', '{LOCKED - 1}s', false),
    CASE WHEN current_setting('synchronous_commit') = 'off'
        THEN set_config('synchronous_commit', 'on', false) END
"""
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)
_GONE = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)


class Server:
    """One connection; ``look`` sees to it that what is wanted is there, on each new one."""

    def __init__(self, address: Address, where: str, look: Callable[[Db], None]) -> None:
        self._where = where
        self._look = look
        try:
            settings = conninfo_to_dict(address.conninfo)
        except psycopg.ProgrammingError:
            settings = {}  # libpq quotes what it can't read, and that may be a part of the password
        if not settings.get("dbname"):
            raise ArgumentError(f"table({address.shown!r}): isn't a URL as libpq has it; write {EXAMPLE}")
        self._settings: dict[str, Any] = {**_DEFAULTS, **settings, "client_encoding": "utf8"}
        self._secrets = [str(settings[name]) for name in ("password", "sslpassword") if settings.get(name)]
        self._db: Db | None = None
        self._known = False
        """Whether there was a connection already: what worked once is waited for."""

    def open(self) -> None:
        self._attempts(lambda db: None, again=True)

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def transaction(self, work: Callable[[Db], R], *, again: bool = True, durable: bool = True) -> R:
        """Run the work in a transaction. One that needn't be durable yet is so with the next one that is.

        With ``again`` it is fit to be run twice: so it is run once more when nobody knows whether it was done.
        """

        def run(db: Db) -> R:
            with db.transaction():
                if not durable:
                    db.execute(b"SET LOCAL synchronous_commit = off")
                return work(db)

        return self._attempts(run, again=again)

    def rehearsed(self, work: Callable[[Db], R]) -> R:
        """Run the work in a transaction that leaves nothing behind."""

        def run(db: Db) -> R:
            with db.transaction(force_rollback=True):
                return work(db)

        return self._attempts(run, again=True)

    def _attempts(self, run: Callable[[Db], R], *, again: bool) -> R:
        until, delay = time.monotonic() + PATIENCE, 0.05
        while True:
            reached = False
            try:
                db = self._connected()
                db.execute(b"SELECT 1")  # an idle connection may be dead: then nothing is done yet
                reached = True
                return run(db)
            except psycopg.Error as error:
                gone = self._db is None or self._db.closed or isinstance(error, _GONE)
                repeat = isinstance(error, _AGAIN) or (gone and self._known and (again or not reached))
                if gone:
                    self.close()
                if not repeat or time.monotonic() + delay > until:
                    # Without its cause where psycopg's error holds the connection's settings, password included.
                    raise self._meaning(error, gone) from (error if error.pgconn is None else None)
            time.sleep(delay)
            delay *= 2

    def _connected(self) -> Db:
        if self._db is None:
            db = psycopg.connect(**self._settings, autocommit=True)
            try:
                db.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                db.execute(_SETTINGS.encode())
                with db.transaction():
                    self._look(db)
            except BaseException:
                db.close()
                raise
            self._db, self._known = db, True
        return self._db

    def _meaning(self, error: psycopg.Error, gone: bool) -> TableError:
        said = " ".join(str(error).split()).removeprefix("connection failed: ")
        for secret in self._secrets:
            said = said.replace(secret, "***")
        match error:
            case errors.LockNotAvailable():
                said += f"; another session has held a lock for more than {LOCKED} s: see pg_stat_activity"
            case errors.InsufficientPrivilege():
                said += "; GRANT it to this user (staging rows needs CREATE on the table's schema)"
            case errors.ReadOnlySqlTransaction():
                said += "; this server is a standby, or read-only: name the primary"
            case _ if gone and self._known:
                said = f"the connection is lost ({said}); is the server running?"
            case _:
                pass
        return TableError(f"{self._where}: {said}")
