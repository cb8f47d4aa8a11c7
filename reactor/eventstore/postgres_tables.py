"""A projection's tables in a schema of PostgreSQL; how they are made anew in a schema aside."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from reactor.core import ArgumentError, MissingExtra
from reactor.eventstore.events import ProjectionError, StoredEvent, StoreUnreachable
from reactor.eventstore.tables import Apply, Tables

try:
    from psycopg import Error, errors
    from psycopg.pq import TransactionStatus
    from psycopg.rows import tuple_row

    from reactor.eventstore import postgres_switch as switch
    from reactor.eventstore.postgres_place import Place
    from reactor.eventstore.postgres_schema import Db, lost, unconnected
except ImportError as error:
    if (error.name or "psycopg").partition(".")[0] != "psycopg":
        raise
    raise MissingExtra("Projection(into='postgresql://...')", "postgres") from error

R = TypeVar("R")

PATIENCE = 15.0
"""Seconds in which a lost connection is made anew before the call that needs it fails."""

IDLE = 60
"""Seconds after which a transaction of a process that stands still is given up by the server."""

LOCKED = IDLE + 10
"""Seconds to wait for another process that is at the same projection: longer than it may stand still."""

READERS = 60.0
"""Seconds in which those who read the old tables have to let go of them."""

_FIRST, _LAST = 0.05, 2.0
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)

# For the transaction alone: a pooler may give the connection to somebody else after it.
_BEGIN = """
BEGIN ISOLATION LEVEL READ COMMITTED {access};
SET LOCAL search_path = "{schema}", public;
SET LOCAL lock_timeout = '{locked}s';
SET LOCAL idle_in_transaction_session_timeout = '{idle}s'
"""


def postgres_tables(name: str, version: int, sql: str, into: str) -> Callable[[], PostgresTables]:
    """Return what makes the tables of one call. Raises ArgumentError for a URL that can't be one."""
    place = Place(into, f"Projection({name!r}, into={{}})")
    if not sql.strip(" \r\n\t;"):
        raise ArgumentError("Projection(tables=...): makes no table; pass its CREATE TABLE")
    return lambda: PostgresTables(name, version, sql, place, place.schema)


class PostgresTables(Tables):
    """The tables of one projection in a schema of the database at ``place``."""

    def __init__(
        self, name: str, version: int, sql: str, place: Place, schema: str, *, temporary: bool = False
    ) -> None:
        self.name = name
        self.version = version
        self.sql = sql
        self.place = place
        self.schema = schema
        self._temporary = temporary
        self._db: Db | None = None
        self._there = False
        self._refused: float | None = None
        """Since when readers of the old tables are in the way."""

    def aside(self) -> PostgresTables:
        schema = f"{self._prefix}{secrets.token_hex(4)}"
        return PostgresTables(self.name, self.version, self.sql, self.place, schema, temporary=True)

    @property
    def _prefix(self) -> str:
        # Of a length that fits, whatever the names are.
        digest = hashlib.sha256(f"{self.place.schema}/{self.name}".encode()).hexdigest()
        return f"reactor_rebuild_{digest[:12]}_"

    # The connection ---------------------------------------------------------------------------------------

    def _connected(self) -> Db:
        if self._db is None:
            try:
                db = self.place.connect()
            except Error as error:
                meaning = unconnected(str(error), self.place)
                kind = StoreUnreachable if isinstance(meaning, StoreUnreachable) else ProjectionError
                # Without its cause: psycopg's error holds the connection's settings, password included.
                raise kind(f"projection {self.name}: {meaning}") from None
            try:
                if self._temporary:
                    switch.occupy(db, self.schema)
            except BaseException:
                db.close()
                raise
            self._db = db
            self.place.reached = True
        return self._db

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _transaction(self, work: Callable[[Db], R], *, access: str = "READ WRITE", locked: int = LOCKED) -> R:
        """Run the work in a transaction, again where the connection was lost: each call is fit for that."""
        begin = _BEGIN.format(access=access, schema=self.schema, locked=locked, idle=IDLE).encode()
        until, delay = time.monotonic() + PATIENCE, _FIRST
        slow = False
        while True:
            try:
                db = self._connected()
                db.execute(begin)
                result = work(db)
                self._check(db)
                db.execute(b"COMMIT")
                return result
            except BaseException as error:
                gone = lost(self._db, error)
                if gone:
                    self.close()
                else:
                    self._roll_back()
                if isinstance(error, errors.IdleInTransactionSessionTimeout):
                    # The process may have been stopped, or its machine asleep; but not each time.
                    if slow:
                        raise self._slow() from error
                    slow, until = True, time.monotonic() + PATIENCE
                waits = (gone and self.place.reached) or isinstance(error, _AGAIN)
                if not waits or time.monotonic() + delay > until:
                    if gone and isinstance(error, Error):
                        # An error that holds the connection's settings holds the password.
                        raise self._unreachable(error) from (error if error.pgconn is None else None)
                    raise
            time.sleep(delay)
            delay = min(2 * delay, _LAST)

    def _unreachable(self, error: Error) -> StoreUnreachable:
        said = self.place.scrubbed(" ".join(str(error).split()))
        return StoreUnreachable(
            f"projection {self.name}: {self.place.shown}: the connection is lost ({said}); is the server running?"
        )

    def _slow(self) -> ProjectionError:
        return ProjectionError(
            f"projection {self.name}: apply was without a statement for {IDLE} s, twice: the server has given up "
            "its transaction; do what takes long before, or elsewhere"
        )

    def _check(self, db: Db) -> None:
        match db.info.transaction_status:
            case TransactionStatus.INTRANS:
                return
            case TransactionStatus.INERROR:
                raise ProjectionError(
                    f"projection {self.name}: apply has gone on after an error of the database, which undoes all "
                    "of the transaction; put `with db.transaction():` around what may fail"
                )
            case _:
                raise ProjectionError(
                    f"projection {self.name}: apply has ended the transaction; leave COMMIT and ROLLBACK out"
                )

    def _roll_back(self) -> None:
        if self._db is not None:
            try:
                self._db.execute(b"ROLLBACK")  # outside of a transaction it is only a warning
            except Error:
                self.close()

    @contextmanager
    def _ours(self) -> Generator[None]:
        """Say what an error of our own statements means; one of ``apply`` goes through as it is."""
        try:
            yield
        except Error as error:
            if lost(self._db, error) or isinstance(error, _AGAIN):
                raise
            raise ProjectionError(f"projection {self.name}: {self._meaning(error)}") from error

    def _meaning(self, error: Error) -> str:
        said = f"{self.place.shown}: {self.place.scrubbed(' '.join(str(error).split()))}"
        match error:
            case errors.LockNotAvailable():
                return (
                    f"{said}; another session has held a lock for more than {LOCKED} s: see pg_stat_activity"
                )
            case errors.InsufficientPrivilege():
                return (
                    f"{said}; GRANT this user CREATE and USAGE on the schema {self.place.schema}, and for "
                    f"rebuild() CREATE ON DATABASE {self.place.database}"
                )
            case errors.UndefinedColumn() | errors.DatatypeMismatch() | errors.InvalidColumnReference():
                return (
                    f"{said}; the schema {self.place.schema} has a table reactor_projections that isn't "
                    "reactor's: choose another ?schema="
                )
            case errors.DuplicateTable() | errors.DuplicateObject():
                return f"{said}; choose another name, or another ?schema="
            case errors.DependentObjectsStillExist():
                return f"{said}; drop what depends on the old tables, or make it in tables="
            case errors.ReadOnlySqlTransaction():
                return f"{said}; this server is a standby, or read-only: name the primary"
            case _:
                return said

    # The tables -------------------------------------------------------------------------------------------

    def _known(self, db: Db) -> tuple[int, int, str] | None:
        """Return the row of the position, which is ours until the transaction ends."""
        if not self._there and not switch.there(db, self.schema):
            return None
        self._there = True
        return switch.known(db, self.schema, self.name)

    def _make(self, db: Db) -> int:
        """Return the position, having made the tables where there are none."""
        with self._ours():
            found = self._known(db)
            if found is None:
                switch.turn(db, self.place.schema)
                found = self._known(db)  # another process may have made them meanwhile
            if found is None:
                switch.prepare(db, self.schema)
                made = self._make_tables(db)
                switch.begin(db, self.schema, self.name, self.version, made)
                self._there = True
                return 0
        version, position, _ = found
        if version != self.version:
            raise ProjectionError(
                f"projection {self.name}: its tables are of version {version}, this is version {self.version}; "
                "await projection.rebuild() makes them anew"
            )
        return position

    def _make_tables(self, db: Db) -> list[str]:
        before, others = switch.relations(db, self.schema), switch.others(db, self.schema)
        try:
            db.execute(self.sql.encode())
        except Error as error:
            if lost(db, error) or isinstance(error, _AGAIN):
                raise
            taken = isinstance(error, errors.DuplicateTable | errors.DuplicateObject)
            fix = "choose another name, or another ?schema=" if taken else "mend tables="
            said = self.place.scrubbed(" ".join(str(error).split()))
            raise ProjectionError(f"projection {self.name}: {self.place.shown}: {said}; {fix}") from error
        if db.info.transaction_status != TransactionStatus.INTRANS:
            raise ProjectionError(
                f"projection {self.name}: tables= has ended the transaction; leave COMMIT out"
            )
        made = sorted(switch.relations(db, self.schema) - before)
        if not made:
            raise ProjectionError(
                f"projection {self.name}: tables= makes no table in the schema {self.place.schema}; "
                "leave the schema out of its CREATE TABLE"
            )
        if others := switch.others(db, self.schema) - others:
            raise ProjectionError(
                f"projection {self.name}: rebuild() couldn't move {', '.join(sorted(others))}: tables= may make "
                "tables, views, indexes and sequences; make the rest elsewhere"
            )
        return made

    def position(self) -> int:
        return self._transaction(self._make)

    def advance(self, events: Sequence[StoredEvent[Any]], start: int, end: int, apply: Apply) -> int:
        def work(db: Db) -> int:
            position = self._make(db)
            if position < start or position >= end:
                return position
            apply(db, [event for event in events if event.position >= position])
            self._check(db)
            with self._ours():
                switch.save(db, self.schema, self.name, end)
            return end

        return self._transaction(work)

    def query(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        def there(db: Db) -> bool:
            with self._ours():
                return switch.there(db, self.schema) and switch.listed(db, self.schema, self.name)

        def rows(db: Db) -> list[tuple[Any, ...]]:
            with db.cursor(row_factory=tuple_row) as cursor:
                cursor.execute(sql.encode(), values or None)
                return cursor.fetchall() if cursor.description else []

        if not self._transaction(there, access="READ ONLY"):
            self.position()
        return self._transaction(rows, access="READ ONLY")

    # Made anew --------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Drop the schema, and those of rebuilds that were killed; one that another is at is left alone."""

        def work(db: Db) -> None:
            with self._ours():
                for schema in switch.abandoned(db, self._prefix, self.schema):
                    switch.drop(db, schema)
                switch.drop(db, self.schema)

        self._there = False
        self._transaction(work)

    def take(self, other: Tables) -> bool:
        assert isinstance(other, PostgresTables)

        def work(db: Db) -> bool:
            with self._ours():
                return self._swap(db, other)

        try:
            return self._transaction(work, locked=1)
        except ProjectionError as error:
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
            # Who waits for the lock is in the way of new readers: so for a second each time.
            now = time.monotonic()
            self._refused = self._refused or now
            if now > self._refused + READERS:
                raise ProjectionError(
                    f"projection {self.name}: {self.place.shown}: another session has held the old tables for "
                    f"more than {READERS:g} s; end its transaction (see pg_stat_activity), and rebuild again"
                ) from error
            return False

    def _swap(self, db: Db, other: PostgresTables) -> bool:
        switch.turn(db, self.schema)
        if not switch.there(db, self.schema):
            switch.prepare(db, self.schema)
        old = switch.known(db, self.schema, self.name)
        if not switch.there(db, other.schema):
            # Moved already, where the connection was lost before that was known.
            return old is not None and old[2] == other.schema
        new = switch.known(db, other.schema, self.name)
        if new is None or (old is not None and old[1] > new[1]):
            return False
        switch.put(db, self.schema, other.schema, self.name)
        return True
