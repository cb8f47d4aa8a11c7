"""Projections: tables in SQLite that are made of events, and can be made anew from all of them at any time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

import anyio
import msgspec

from reactor.connectors.loops import OwnThread
from reactor.connectors.sqlite.log import FileUser
from reactor.core import ArgumentError, Duration
from reactor.eventstore.events import ALL, ProjectionError, StoredEvent, Target
from reactor.eventstore.store import EventStore
from reactor.eventstore.tables import Tables, statements_of

T = TypeVar("T")
S = TypeVar("S")

_BATCH = 500


class Projection(Generic[T]):
    """Tables that ``apply(db, event)`` fills, in the SQLite file ``into``; exactly once, whatever happens.

    The rows that a batch of events makes and the position behind it are one transaction, so a crash, or a second
    process that runs the same, changes nothing. ``apply`` runs on a thread of the projection's own, and must not
    commit. ``tables`` is the SQL that makes the tables (and indexes). A new ``version`` of ``apply`` or ``tables``
    asks for ``rebuild()``.
    """

    def __init__(
        self,
        name: str,
        store: EventStore[T],
        apply: Callable[[sqlite3.Connection, StoredEvent[T]], object],
        *,
        tables: str,
        into: str,
        target: Target = ALL,
        version: int = 1,
    ) -> None:
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ArgumentError(f"Projection({name!r}): a name of letters, digits, _ and -")
        scheme, _, path = into.partition(":")
        if scheme != "sqlite" or not path or path.endswith("/") or not path.isprintable():
            raise ArgumentError(f"Projection({name!r}, into={into!r}): write sqlite:PATH")
        if isinstance(target, str):
            # Its rows stand at positions of the whole store; a stream's versions can't be compared with those.
            raise ArgumentError(f"Projection({name!r}, target={target!r}): ALL or a Category")
        store.source(target)  # says what is wrong with it
        self.name = name
        self._store = store
        self._apply = apply
        self._target = target
        self._version = version
        self._sql = statements_of(tables)
        self._path = FileUser(into, path).path

    async def catch_up(self) -> int:
        """Apply the events that came since the last time; return the position to go on at.

        Raises what ``apply`` raises, and ProjectionError where the tables are of another version.
        """
        async with self._thread() as (thread, tables):
            return await self._go_on(thread, tables, follow=False, poll=1.0)

    async def run(self, *, poll: Duration = 1.0) -> None:
        """Catch up, and then apply what comes, until it is cancelled."""
        async with self._thread() as (thread, tables):
            await self._go_on(thread, tables, follow=True, poll=poll)

    async def rebuild(self) -> int:
        """Make the tables anew from all events, in a file aside, and put them in place in one transaction.

        Until then the old ones are read, and may be run, as before. Returns the position to go on at.
        """
        async with self._thread() as (thread, tables):
            aside = Tables(self.name, self._version, self._sql, f"{self._path}.{self.name}-{os.getpid()}")
            await thread.ask(aside.remove).wait()
            try:
                while True:
                    position = await self._go_on(thread, aside, follow=False, poll=1.0)
                    with anyio.CancelScope(shield=True):
                        if await thread.ask(lambda: tables.take(aside)).wait():
                            return position
            finally:
                with anyio.CancelScope(shield=True):
                    await thread.ask(aside.remove).wait()

    async def position(self) -> int:
        """Return the position of the first event that isn't in the tables."""
        async with self._thread() as (thread, tables):
            return await thread.ask(tables.position).wait()

    async def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that changes nothing."""
        async with self._thread() as (thread, tables):
            return await thread.ask(lambda: tables.query(sql, values)).wait()

    @asynccontextmanager
    async def _thread(self) -> AsyncGenerator[tuple[OwnThread, Tables], None]:
        # A connection is of the thread that made it: each call has its own pair.
        tables = Tables(self.name, self._version, self._sql, self._path)
        thread = OwnThread(f"reactor projection {self.name}")
        try:
            yield thread, tables
        finally:
            with anyio.CancelScope(shield=True):
                await thread.end(tables.close)

    async def _go_on(self, thread: OwnThread, tables: Tables, *, follow: bool, poll: Duration) -> int:
        position = await thread.ask(tables.position).wait()
        source = self._store.source(self._target, position, follow=follow, poll=poll)
        try:
            await source.open()
            while (records := await source.read(_BATCH)) is not None:
                events = [record.value for record in records]
                end = source.position()
                assert end is not None
                position = await self._advance(thread, tables, events, position, end)
                if position != end:  # another process was faster, or built the tables anew
                    await source.seek(position)
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()
        return position

    async def _advance(
        self, thread: OwnThread, tables: Tables, events: Sequence[StoredEvent[T]], start: int, end: int
    ) -> int:
        # Not given up half-way: the thread would still be at it when its connection is closed.
        position = start
        with anyio.CancelScope(shield=True):
            position = await thread.ask(lambda: tables.advance(events, start, end, self._apply_all)).wait()
        return position

    def _apply_all(self, db: sqlite3.Connection, events: Sequence[StoredEvent[T]]) -> None:
        for event in events:
            try:
                self._apply(db, event)
            except Exception as error:
                error.add_note(
                    f"projection {self.name}, {event.type} at position {event.position} ({event.stream} "
                    f"version {event.version})"
                )
                raise


class FoldProjection(Projection[T], Generic[S, T]):
    """One state of all events, kept as JSON in the SQLite file ``into`` with its position."""

    def __init__(
        self,
        name: str,
        store: EventStore[T],
        initial: Callable[[], S],
        apply: Callable[[S, StoredEvent[T]], S],
        *,
        kind: type[S],
        into: str,
        target: Target = ALL,
        version: int = 1,
    ) -> None:
        table = f"{name}_state".replace("-", "_")
        super().__init__(
            name,
            store,
            lambda db, event: None,
            tables=f"CREATE TABLE {table} (one INTEGER PRIMARY KEY CHECK (one = 0), state BLOB NOT NULL)",
            into=into,
            target=target,
            version=version,
        )
        self._table = table
        self._initial = initial
        self._step = apply
        self._decode = msgspec.json.Decoder(kind).decode

    async def state(self) -> S:
        """Return the state as it was saved last."""
        return self._state(await self.query(f"SELECT state FROM {self._table}"))

    def _state(self, rows: list[tuple[Any, ...]]) -> S:
        if not rows:
            return self._initial()
        try:
            return self._decode(rows[0][0])
        except (msgspec.MsgspecError, ValueError) as error:
            raise ProjectionError(
                f"projection {self.name}: the state that was saved doesn't fit: {error}; "
                "give it a new version= and await projection.rebuild()"
            ) from error

    def _apply_all(self, db: sqlite3.Connection, events: Sequence[StoredEvent[T]]) -> None:
        if not events:
            return
        state = self._state(db.execute(f"SELECT state FROM {self._table}").fetchall())
        for event in events:
            state = self._step(state, event)
        data = msgspec.json.encode(cast(object, state))
        db.execute(f"INSERT OR REPLACE INTO {self._table} VALUES (0, ?)", (data,))
