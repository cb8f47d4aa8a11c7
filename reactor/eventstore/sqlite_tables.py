"""A projection's tables in a SQLite file; how they are made anew in a file aside."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from reactor.connectors.sqlite.log import FileUser
from reactor.core import ArgumentError
from reactor.eventstore.events import ProjectionError, StoredEvent
from reactor.eventstore.tables import Apply, Tables

R = TypeVar("R")

PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds."""

_POSITIONS = (
    "CREATE TABLE IF NOT EXISTS main.reactor_projections"
    " (name TEXT PRIMARY KEY, version INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID"
)
_KNOWN = "SELECT version, position FROM main.reactor_projections WHERE name = ?"


def statements_of(sql: str) -> list[str]:
    """Split a script; ``executescript`` would commit what is open."""
    found: list[str] = []
    statement = ""
    for piece in f"{sql};".split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \r\n\t;"):
                found.append(statement)
            statement = ""
    if statement.strip(" \r\n\t;"):
        raise ArgumentError(f"Projection(tables=...): not a whole statement: {statement.strip()!r}")
    if not found:
        raise ArgumentError("Projection(tables=...): makes no table; pass its CREATE TABLE")
    return found


def _to_wal(db: sqlite3.Connection) -> None:
    """Set the journal mode; SQLite doesn't apply its busy timeout to that, and another may be just at it."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def sqlite_tables(name: str, version: int, sql: str, into: str) -> Callable[[], SqliteTables]:
    """Return what makes the tables of one call. Raises ArgumentError for what can't be a file or SQL."""
    path = into.partition(":")[2]
    if not path or path.endswith("/") or not path.isprintable():
        raise ArgumentError(f"Projection({name!r}, into={into!r}): write sqlite:PATH or postgresql://...")
    statements = statements_of(sql)
    whole = FileUser(into, path).path
    return lambda: SqliteTables(name, version, statements, whole)


class SqliteTables(Tables):
    """The tables of one projection in the file at ``path``."""

    def __init__(self, name: str, version: int, sql: Sequence[str], path: str) -> None:
        self.name = name
        self.version = version
        self.sql = sql
        self.path = path
        self._db: sqlite3.Connection | None = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
                _to_wal(self._db)
            except sqlite3.Error as error:
                self.close()
                raise ProjectionError(
                    f"projection {self.name}: {self.path}: {error}; "
                    "it has to be a SQLite file, and it and its folder writable"
                ) from error
        return self._db

    def aside(self) -> SqliteTables:
        return SqliteTables(self.name, self.version, self.sql, f"{self.path}.{self.name}-{os.getpid()}")

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        db = self._connected()
        try:
            db.execute("BEGIN IMMEDIATE")
            result = work(db)
            if not db.in_transaction:
                raise ProjectionError(
                    f"projection {self.name}: apply has ended the transaction; "
                    "leave COMMIT, ROLLBACK and executescript() out"
                )
            db.execute("COMMIT")
            return result
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _make(self, db: sqlite3.Connection) -> int:
        """Return the position, having made the tables where there are none."""
        db.execute(_POSITIONS)
        row = db.execute(_KNOWN, (self.name,)).fetchone()
        if row is None:
            self._make_tables(db)
            db.execute("INSERT INTO reactor_projections VALUES (?, ?, 0)", (self.name, self.version))
            return 0
        if row[0] != self.version:
            raise ProjectionError(
                f"projection {self.name}: its tables are of version {row[0]}, this is version {self.version}; "
                "await projection.rebuild() makes them anew"
            )
        return int(row[1])

    def _make_tables(self, db: sqlite3.Connection) -> None:
        for statement in self.sql:
            try:
                db.execute(statement)
            except sqlite3.Error as error:
                fix = "choose another name" if "already exists" in str(error) else "mend tables="
                raise ProjectionError(
                    f"projection {self.name}: {self.path}: {error}: {statement.strip()} {fix}"
                ) from error

    def position(self) -> int:
        return self._transaction(self._make)

    def advance(self, events: Sequence[StoredEvent[Any]], start: int, end: int, apply: Apply) -> int:
        def work(db: sqlite3.Connection) -> int:
            position = self._make(db)
            if position < start or position >= end:
                return position
            apply(db, [event for event in events if event.position >= position])
            if db.in_transaction:
                db.execute("UPDATE reactor_projections SET position = ? WHERE name = ?", (end, self.name))
            return end

        return self._transaction(work)

    def query(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        db = self._connected()
        there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'reactor_projections'").fetchone()
        if not there or not db.execute(_KNOWN, (self.name,)).fetchone():
            self.position()
        db.execute("PRAGMA query_only = 1")
        return db.execute(sql, values).fetchall()

    def remove(self) -> None:
        self.close()
        for end in ("", "-wal", "-shm"):
            try:
                os.unlink(self.path + end)
            except FileNotFoundError:
                pass

    def take(self, other: Tables) -> bool:
        assert isinstance(other, SqliteTables)
        other.close()
        db = self._connected()
        db.execute("ATTACH DATABASE ? AS anew", (other.path,))
        try:
            return self._transaction(self._swap)
        finally:
            db.execute("DETACH DATABASE anew")

    def _swap(self, db: sqlite3.Connection) -> bool:
        db.execute(_POSITIONS)
        old = db.execute(_KNOWN, (self.name,)).fetchone()
        new = db.execute(
            "SELECT position FROM anew.reactor_projections WHERE name = ?", (self.name,)
        ).fetchone()
        if old is not None and old[1] > new[0]:
            return False
        tables = [
            str(name)
            for (name,) in db.execute(
                "SELECT name FROM anew.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                " AND name <> 'reactor_projections'"
            ).fetchall()
        ]
        if old is not None:
            for table in tables:
                db.execute(f'DROP TABLE IF EXISTS main."{table}"')
        self._make_tables(db)
        for table in tables:
            # What tables= puts into them itself stands in the other's as well.
            db.execute(f'DELETE FROM main."{table}"')
            db.execute(f'INSERT INTO main."{table}" SELECT * FROM anew."{table}"')
        db.execute(
            "INSERT OR REPLACE INTO main.reactor_projections"
            " SELECT * FROM anew.reactor_projections WHERE name = ?",
            (self.name,),
        )
        return True
