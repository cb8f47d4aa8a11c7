"""Tables of a SQLite file."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any

from reactor.connectors.tables.columns import Columns, Kind, Made
from reactor.connectors.tables.shape import Shape, blame, listed, quoted
from reactor.connectors.tables.sqlite_file import File
from reactor.connectors.tables.values import SQLITE, Values
from reactor.core import Fenced, Refused, TableError

Row = tuple[Any, ...]

_KINDS: dict[Kind, str] = {"bool": "INTEGER", "int": "INTEGER", "float": "REAL", "bytes": "BLOB"}
"""All others are TEXT."""

# A stager's rows stand in a table of their own, reactor_staged_STAGER, made anew by each who recovers. What is
# staged says itself where it belongs: the next version of a pipeline may write to other columns.
_TABLES = """
CREATE TABLE IF NOT EXISTS reactor_stagers (
    stager INTEGER PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    columns TEXT NOT NULL,
    keys TEXT NOT NULL,
    fence INTEGER NOT NULL,
    run TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS reactor_prepared (
    stager INTEGER NOT NULL REFERENCES reactor_stagers,
    number INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (stager, number)
) WITHOUT ROWID
"""
_REFUSALS = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)
"""What is a row's own fault."""


class SqliteTable:
    """The table of this name in the file at ``path``."""

    def __init__(self, path: str, table: str, columns: Columns, made: Sequence[Made] | None) -> None:
        self.values = Values(SQLITE)
        self._where = f"{path}, table {table}"
        self._file = File(path, self._where, made is not None, self._look)
        self._made = made
        """The columns, where the table is to be made."""
        self._shape = Shape(quoted(table), columns.names, columns.key)
        self._insert = self._shape.insert(f"VALUES ({', '.join('?' * len(columns.names))})")
        self._unsure = False
        """Whether rows that are fit one by one may still contradict each other: there are other unique indexes."""
        self._stager = 0
        self._owner = ""
        self._run = ""

    def open(self) -> None:
        self._file.call(lambda: None)

    def close(self) -> None:
        self._file.close()

    def _creation(self, made: Sequence[Made]) -> str:
        parts = [
            f"{quoted(column.name)} {_KINDS.get(column.kind, 'TEXT')}{'' if column.nullable else ' NOT NULL'}"
            for column in made
        ]
        if self._shape.key:
            parts.append(f"PRIMARY KEY ({listed(self._shape.key)})")
        return f"CREATE TABLE IF NOT EXISTS {self._shape.target} ({', '.join(parts)})"

    def _look(self, db: sqlite3.Connection) -> None:
        """Make the table where that is wanted, and raise for one that these rows can't be written to."""
        if self._made is not None:
            db.execute(self._creation(self._made))
        there = {
            str(name): bool(pk)
            for _, name, _, _, _, pk in db.execute(f"PRAGMA table_info({self._shape.target})").fetchall()
        }
        if not there:
            raise TableError(f"{self._where}: there is no such table; pass create=True, or make it")
        known = {name.lower() for name in there}
        missing = [name for name in self._shape.columns if name.lower() not in known]
        if missing:
            raise TableError(
                f"{self._where}: has no column {', '.join(missing)}; it has {', '.join(there)}: "
                "add it, or pass columns="
            )
        try:
            db.execute(f"EXPLAIN {self._insert}", (None,) * len(self._shape.columns)).close()
        except sqlite3.OperationalError as error:
            if "ON CONFLICT" not in str(error):
                raise
            raise TableError(
                f"{self._where}: key={self._shape.key!r} has no unique index; make one: "
                f"CREATE UNIQUE INDEX ... ON {self._shape.target} ({listed(self._shape.key)})"
            ) from error
        unique = {frozenset(name.lower() for name, pk in there.items() if pk)}
        for _, index, is_unique, *_ in db.execute(f"PRAGMA index_list({self._shape.target})").fetchall():
            if is_unique:
                parts = db.execute(f"PRAGMA index_info({quoted(str(index))})").fetchall()
                unique.add(frozenset(str(name).lower() for _, _, name in parts))
        written = {name.lower() for name in self._shape.columns}
        key = frozenset(name.lower() for name in self._shape.key)
        self._unsure = any(index & written for index in unique - {key})

    # Rows ---------------------------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row]) -> None:
        try:
            self._file.transaction(lambda db: db.executemany(self._insert, rows))
        except (TableError, *_REFUSALS) as error:
            self._find_out(rows, error)

    def _find_out(self, rows: Sequence[Row], error: Exception) -> None:
        """Raise Refused where rows are at fault, else the error."""
        cause = error.__cause__ if isinstance(error, TableError) else error
        if not isinstance(cause, _REFUSALS):
            raise error
        found = self._file.rehearsed(lambda db: blame(rows, lambda some: self._trial(db, some)))
        raise Refused(found) if found else error

    def _trial(self, db: sqlite3.Connection, rows: Sequence[Row]) -> Exception | None:
        db.execute("SAVEPOINT trial")
        try:
            db.executemany(self._insert, rows)
        except _REFUSALS as error:
            db.execute("ROLLBACK TO trial")
            meaning = TableError(f"{self._where}: {error}")
            meaning.__cause__ = error
            return meaning
        finally:
            if db.in_transaction:
                db.execute("RELEASE trial")
        return None

    # Staged rows --------------------------------------------------------------------------------------------

    def recover(self, owner: str, decided: int, fence: int) -> None:
        run = uuid.uuid4().hex

        def work(db: sqlite3.Connection) -> int:
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            known = db.execute(
                "SELECT stager, fence FROM reactor_stagers WHERE owner = ?", (owner,)
            ).fetchone()
            if known is None:
                stager = db.execute(
                    "INSERT INTO reactor_stagers (owner, target, columns, keys, fence, run)"
                    " VALUES (?, '', '', '', 0, '')",
                    (owner,),
                ).lastrowid
                assert stager is not None
            else:
                stager = int(known[0])
                if fence < known[1]:
                    raise _fenced(owner)
                self._move(db, stager, decided)
                db.execute(f"DROP TABLE reactor_staged_{stager}")
                db.execute("DELETE FROM reactor_prepared WHERE stager = ?", (stager,))
            db.execute(
                f"CREATE TABLE reactor_staged_{stager}"
                f" (n INTEGER PRIMARY KEY, {', '.join(self._shape.staged())})"
            )
            names = (self._shape.target, json.dumps(self._shape.columns), json.dumps(self._shape.key))
            db.execute(
                "UPDATE reactor_stagers SET target = ?, columns = ?, keys = ?, fence = ?, run = ?"
                " WHERE stager = ?",
                (*names, fence, run, stager),
            )
            return stager

        self._stager = self._file.transaction(work)
        self._owner, self._run = owner, run

    def _check(self, db: sqlite3.Connection) -> None:
        found = db.execute("SELECT run FROM reactor_stagers WHERE stager = ?", (self._stager,)).fetchone()
        if found != (self._run,):
            raise _fenced(self._owner)

    def stage(self, at: int, rows: Sequence[Row]) -> None:
        def work(db: sqlite3.Connection) -> Exception | None:
            self._check(db)
            db.execute("SAVEPOINT rehearsal")
            error = self._trial(db, rows)
            if error is None:
                db.execute("ROLLBACK TO rehearsal")
                self._put(db, at, rows)
            return error

        error = self._file.transaction(work, durable=False)
        if error is not None:
            self._find_out(rows, error)

    def _put(self, db: sqlite3.Connection, at: int, rows: Sequence[Row]) -> None:
        db.execute(f"DELETE FROM reactor_staged_{self._stager} WHERE n >= ?", (at,))
        marks = ", ".join("?" * (len(self._shape.columns) + 1))
        db.executemany(
            f"INSERT INTO reactor_staged_{self._stager} VALUES ({marks})",
            ((n, *row) for n, row in enumerate(rows, at)),
        )

    def prepare(self, number: int, at: int, rows: Sequence[Row]) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._check(db)
            self._put(db, at, rows)
            db.execute(
                "INSERT OR REPLACE INTO reactor_prepared VALUES (?, ?, ?)",
                (self._stager, number, at + len(rows)),
            )
            if self._unsure:
                # What can't be published mustn't be decided.
                db.execute("SAVEPOINT rehearsal")
                try:
                    self._move(db, self._stager, number)
                except sqlite3.IntegrityError as error:
                    raise TableError(
                        f"{self._where}: rows of different writes contradict each other: {error}; "
                        "with key= a row takes the place of its like"
                    ) from error
                db.execute("ROLLBACK TO rehearsal")

        self._file.transaction(work)

    def publish(self, number: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._check(db)
            self._move(db, self._stager, number)

        self._file.transaction(work)

    def _move(self, db: sqlite3.Connection, stager: int, number: int) -> None:
        """Move the rows up to the number from where they are staged to where they belong."""
        found = db.execute(
            "SELECT target, columns, keys, stop FROM reactor_prepared JOIN reactor_stagers USING (stager)"
            " WHERE stager = ? AND number <= ? ORDER BY number DESC LIMIT 1",
            (stager, number),
        ).fetchone()
        if found is None:
            return
        target, columns, keys, stop = found
        shape = Shape(target, tuple(json.loads(columns)), tuple(json.loads(keys)))
        staged = f"SELECT {', '.join(shape.staged())} FROM reactor_staged_{stager} WHERE n < ? ORDER BY n"
        try:
            db.execute(shape.insert(staged), (stop,))
        except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
            error.add_note(f"the rows are kept in reactor_staged_{stager}, for {target}")
            raise
        db.execute(f"DELETE FROM reactor_staged_{stager} WHERE n < ?", (stop,))
        db.execute("DELETE FROM reactor_prepared WHERE stager = ? AND number <= ?", (stager, number))


def _fenced(owner: str) -> Fenced:
    return Fenced(
        f"{owner}: another process has taken over; what this one did since its last checkpoint is void"
    )
