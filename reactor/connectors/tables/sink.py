"""A table as a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from reactor.connectors.loops import OwnThread
from reactor.connectors.staging import Held
from reactor.connectors.tables.columns import Columns
from reactor.connectors.tables.values import Values
from reactor.core import Sink

R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)

Row = tuple[Any, ...]


class Database(Protocol):
    """A connection to the database of one table. All calls come from one thread, whose the connection is.

    They raise TableError; ``write`` and ``stage`` raise Refused for rows that the table doesn't take. The last
    four are what ``Staging`` says of them.
    """

    values: Values

    def open(self) -> None:
        """Connect, make the table where that is wanted, and see whether it has the columns."""
        ...

    def close(self) -> None:
        """Disconnect; also where it isn't connected."""
        ...

    def write(self, rows: Sequence[Row]) -> None:
        """Store all rows or none."""
        ...

    def recover(self, owner: str, decided: int, fence: int) -> None:
        """Become the one who stages for the owner; publish what is decided, drop the rest."""
        ...

    def stage(self, at: int, rows: Sequence[Row]) -> None:
        """Take rows that nobody sees."""
        ...

    def prepare(self, number: int, at: int, rows: Sequence[Row]) -> None:
        """Take rows, and note durably what belongs to the number."""
        ...

    def publish(self, number: int) -> None:
        """Move what belongs to the number into the table."""
        ...


class TableSink(Sink[T_contra]):
    """Writes each event as a row; each write is one transaction."""

    transactional = True

    def __init__(self, name: str, columns: Columns, make: Callable[[], Database]) -> None:
        self.name = name
        self._columns = columns
        self._make = make
        self._database: Database | None = None
        self._thread: OwnThread | None = None
        self._held: Held[Row] | None = None

    async def open(self) -> None:
        """Connect; TableError for a table that isn't there or hasn't the columns."""
        self._thread = OwnThread(f"reactor table {self.name}")
        self._database = self._make()
        await self._thread.ask(self._database.open).wait()

    async def write(self, events: Sequence[T_contra]) -> None:
        """Store the rows, or none where that fails: TableError, or Refused for what is an event's fault."""
        database, thread = self._running
        rows = self._columns.rows(events, database.values)
        if self._held is None:
            await thread.ask(lambda: database.write(rows)).wait()
        else:
            await self._held.add(rows)

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        database, thread = self._running
        await thread.ask(lambda: database.recover(owner, decided, fence)).wait()
        # Nothing is kept in memory: the database is to refuse a row while its write can tell so.
        self._held = Held(_Staging(database, thread))

    async def prepare(self, number: int) -> None:
        await self._transaction.prepare(number)

    async def publish(self, number: int) -> None:
        await self._transaction.publish(number)

    async def close(self) -> None:
        self._held = None
        thread, self._thread = self._thread, None
        database, self._database = self._database, None
        if thread is not None:
            await thread.end(lambda: database.close() if database is not None else None)

    @property
    def _running(self) -> tuple[Database, OwnThread]:
        if self._database is None or self._thread is None:
            raise RuntimeError(f"{self.name}: used before open() or after close()")
        return self._database, self._thread

    @property
    def _transaction(self) -> Held[Row]:
        if self._held is None:
            raise RuntimeError(f"{self.name}: prepare() and publish() come after recover()")
        return self._held


class _Staging:
    """The database's calls, on its thread."""

    def __init__(self, database: Database, thread: OwnThread) -> None:
        self._database = database
        self._thread = thread

    async def stage(self, at: int, rows: Sequence[Row]) -> None:
        await self._thread.ask(lambda: self._database.stage(at, rows)).wait()

    async def prepare(self, number: int, at: int, rows: Sequence[Row]) -> None:
        await self._thread.ask(lambda: self._database.prepare(number, at, rows)).wait()

    async def publish(self, number: int) -> None:
        await self._thread.ask(lambda: self._database.publish(number)).wait()
