"""Tables of PostgreSQL."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import DataError, IntegrityError, errors

from reactor.connectors.tables.address import Address
from reactor.connectors.tables.columns import Columns, Made
from reactor.connectors.tables.postgres_server import Db, Server
from reactor.connectors.tables.postgres_target import LOCK, THERE, Target, copy
from reactor.connectors.tables.shape import Shape, blame, listed
from reactor.connectors.tables.values import POSTGRES, Values
from reactor.core import Fenced, Refused, TableError

Row = tuple[Any, ...]
Put = Callable[[Db, Sequence[Row]], None]

_REFUSALS = (
    DataError,
    IntegrityError,
    errors.RaiseException,
    errors.CannotCoerce,
    errors.DatatypeMismatch,
    UnicodeEncodeError,
    OverflowError,
)
"""What is a row's own fault."""

# A stager's rows stand in a table of their own, reactor_staged_STAGER, made anew by each who recovers: with the
# types of the table that they are for, so that what doesn't fit is refused when it is staged.
_TABLES = """
CREATE TABLE {schema}.reactor_stagers (
    stager bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL UNIQUE,
    target text NOT NULL,
    columns text NOT NULL,
    keys text NOT NULL,
    fence bigint NOT NULL,
    run text NOT NULL
);
CREATE TABLE {schema}.reactor_prepared (
    stager bigint NOT NULL REFERENCES {schema}.reactor_stagers,
    number bigint NOT NULL,
    stop bigint NOT NULL,
    PRIMARY KEY (stager, number)
)
"""


class PostgresTable:
    """The table at this address."""

    def __init__(self, address: Address, columns: Columns, made: Sequence[Made] | None) -> None:
        self.values = Values(POSTGRES)
        self._where = f"{address.shown}, table {address.table}"
        self._target = target = Target(address, self._where, columns, made)
        self._server = Server(address, self._where, target.look)
        self._stager = 0
        self._owner = ""
        self._run = ""
        self._durable = 0
        """The rows before this one are durable, or published already."""

    def open(self) -> None:
        self._server.open()

    def close(self) -> None:
        self._server.close()

    # Rows ---------------------------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row]) -> None:
        # A row without a key, written once more, would stand there twice.
        self._or_refused(
            rows,
            lambda: self._server.transaction(
                lambda db: self._target.insert(db, rows), again=bool(self._target.shape.key)
            ),
            self._target.insert,
        )

    def _or_refused(self, rows: Sequence[Row], call: Callable[[], None], put: Put) -> None:
        """Make the call; where it fails for what rows are, raise Refused for those that can't be put."""
        try:
            call()
        except (TableError, *_REFUSALS) as error:
            cause = error.__cause__ if isinstance(error, TableError) else error
            if not isinstance(cause, _REFUSALS):
                raise

            def trial(db: Db, some: Sequence[Row]) -> Exception | None:
                try:
                    with db.transaction():
                        put(db, some)
                except _REFUSALS as refusal:
                    said = " ".join(str(refusal).split())
                    meaning = TableError(f"{self._where}: {said}")
                    meaning.__cause__ = refusal
                    return meaning
                return None

            found = self._server.rehearsed(lambda db: blame(rows, lambda some: trial(db, some)))
            if not found:
                raise
            raise Refused(found) from None

    # Staged rows --------------------------------------------------------------------------------------------

    def recover(self, owner: str, decided: int, fence: int) -> None:
        run = uuid.uuid4().hex
        schema = self._target.schema

        def work(db: Db) -> int:
            db.execute(LOCK)
            if not db.execute(
                THERE, ("reactor_stagers", self._target.namespace, self._target.namespace)
            ).fetchone():
                for statement in _TABLES.format(schema=schema).split(";\n"):
                    db.execute(statement.encode())
            known = db.execute(
                _sql("SELECT stager, fence FROM {}.reactor_stagers WHERE owner = %s FOR UPDATE", schema),
                (owner,),
            ).fetchone()
            if known is None:
                known = db.execute(
                    _sql(
                        "INSERT INTO {}.reactor_stagers (owner, target, columns, keys, fence, run)"
                        " VALUES (%s, '', '', '', 0, '') RETURNING stager, fence",
                        schema,
                    ),
                    (owner,),
                ).fetchone()
                assert known is not None
            stager = int(known[0])
            if fence < known[1]:
                raise _fenced(owner)
            self._move(db, stager, decided)
            db.execute(f"DROP TABLE IF EXISTS {self._staged(stager)}".encode())
            db.execute(_sql("DELETE FROM {}.reactor_prepared WHERE stager = %s", schema), (stager,))
            columns = f"reactor_row bigint PRIMARY KEY, {self._target.columns(db)}"
            db.execute(f"CREATE TABLE {self._staged(stager)} ({columns})".encode())
            db.execute(
                _sql(
                    "UPDATE {}.reactor_stagers SET target = %s, columns = %s, keys = %s, fence = %s, run = %s"
                    " WHERE stager = %s",
                    schema,
                ),
                (
                    self._target.shape.target,
                    json.dumps(self._target.names),
                    json.dumps(self._target.shape.key),
                    fence,
                    run,
                    stager,
                ),
            )
            return stager

        self._stager = self._server.transaction(work)
        self._owner, self._run, self._durable = owner, run, 0

    def _staged(self, stager: int) -> str:
        return f"{self._target.schema}.reactor_staged_{stager}"

    def _check(self, db: Db) -> None:
        # Who recovers waits for the end of this transaction.
        found = db.execute(
            _sql("SELECT run FROM {}.reactor_stagers WHERE stager = %s FOR SHARE", self._target.schema),
            (self._stager,),
        ).fetchone()
        if found != (self._run,):
            raise _fenced(self._owner)

    def _complete(self, db: Db, end: int) -> None:
        """Raise where a crash of the server has taken rows with it, which are durable with the next ``prepare``.

        The last ones go first: where the last one is, all are.
        """
        if end > self._durable:
            query = f"SELECT 1 FROM {self._staged(self._stager)} WHERE reactor_row = {end - 1}"
            if not db.execute(query.encode()).fetchone():
                raise TableError(
                    f"{self._where}: the server has crashed, and rows that were staged since the last checkpoint "
                    "are gone; run the pipeline again from there"
                )

    def stage(self, at: int, rows: Sequence[Row]) -> None:
        def put(db: Db, some: Sequence[Row]) -> None:
            if self._target.unsure:
                with db.transaction(force_rollback=True):
                    self._target.insert(db, some)
            self._put(db, at, some)

        def try_to(db: Db, some: Sequence[Row]) -> None:
            self._put(db, at, some)
            if self._target.unsure:
                self._target.insert(db, some)

        def work(db: Db) -> None:
            self._check(db)
            self._complete(db, at)
            put(db, rows)

        self._or_refused(rows, lambda: self._server.transaction(work, durable=False), try_to)

    def _put(self, db: Db, at: int, rows: Sequence[Row]) -> None:
        staged = self._staged(self._stager)
        db.execute(f"DELETE FROM {staged} WHERE reactor_row >= {at}".encode())
        if rows:
            into = f"{staged} (reactor_row, {listed(self._target.names)})"
            copy(db, into, [(n, *row) for n, row in enumerate(rows, at)])

    def prepare(self, number: int, at: int, rows: Sequence[Row]) -> None:
        def work(db: Db) -> None:
            self._check(db)
            self._complete(db, at)
            self._put(db, at, rows)
            db.execute(
                _sql(
                    "INSERT INTO {}.reactor_prepared VALUES (%s, %s, %s)"
                    " ON CONFLICT (stager, number) DO UPDATE SET stop = excluded.stop",
                    self._target.schema,
                ),
                (self._stager, number, at + len(rows)),
            )
            if self._target.unsure:
                # What can't be published mustn't be decided.
                try:
                    with db.transaction(force_rollback=True):
                        self._move(db, self._stager, number)
                except IntegrityError as error:
                    raise TableError(
                        f"{self._where}: rows of different writes contradict each other: "
                        f"{' '.join(str(error).split())}; with key= a row takes the place of its like"
                    ) from error

        self._server.transaction(work)
        self._durable = at + len(rows)

    def publish(self, number: int) -> None:
        def work(db: Db) -> None:
            self._check(db)
            self._move(db, self._stager, number)

        self._server.transaction(work)

    def _move(self, db: Db, stager: int, number: int) -> None:
        """Move the rows up to the number from where they are staged to where they belong."""
        found = db.execute(
            _sql(
                "SELECT target, columns, keys, stop FROM {0}.reactor_prepared JOIN {0}.reactor_stagers"
                " USING (stager) WHERE stager = %s AND number <= %s ORDER BY number DESC LIMIT 1",
                self._target.schema,
            ),
            (stager, number),
        ).fetchone()
        if found is None:
            return
        target, columns, keys, stop = found
        shape = Shape(target, tuple(json.loads(columns)), tuple(json.loads(keys)))
        staged = f"SELECT * FROM {self._staged(stager)} WHERE reactor_row < {stop}"
        if shape.key:
            # One statement may write a row once: the last one of each key counts.
            key = listed(shape.key)
            staged = staged.replace("SELECT", f"SELECT DISTINCT ON ({key})", 1)
            staged += f" ORDER BY {key}, reactor_row DESC"
        chosen = f"SELECT {listed(shape.columns)} FROM ({staged}) AS staged ORDER BY reactor_row"
        try:
            db.execute(shape.insert(chosen).encode())
        except (IntegrityError, DataError) as error:
            error.add_note(f"the rows are kept in {self._staged(stager)}, for {target}")
            raise
        db.execute(f"DELETE FROM {self._staged(stager)} WHERE reactor_row < {stop}".encode())
        db.execute(
            _sql("DELETE FROM {}.reactor_prepared WHERE stager = %s AND number <= %s", self._target.schema),
            (stager, number),
        )


def _sql(text: str, schema: str) -> bytes:
    """Return the statement with the schema's name in it, which may have any character."""
    return text.format(schema.replace("%", "%%")).encode()


def _fenced(owner: str) -> Fenced:
    return Fenced(
        f"{owner}: another process has taken over; what this one did since its last checkpoint is void"
    )
