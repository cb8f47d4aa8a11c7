"""Projections: tables that are made of events, and can be made anew from all of them at any time."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import msgspec

from reactor.connectors.loops import OwnThread
from reactor.core import ArgumentError, Duration
from reactor.eventstore.events import ALL, ProjectionError, StoredEvent, StoreUnreachable, Target
from reactor.eventstore.sqlite_tables import sqlite_tables
from reactor.eventstore.store import EventStore
from reactor.eventstore.tables import Tables
from reactor.eventstore.urls import redacted

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
S = TypeVar("S")

_BATCH = 500
_PAUSE = 1.0
"""Seconds between two attempts to reach the tables' server."""

log = logging.getLogger("reactor")


class Projection(Generic[T]):
    """Tables that ``apply(db, event)`` fills, exactly once, whatever happens.

    ``into`` is ``sqlite:PATH``, and ``db`` a ``sqlite3.Connection``; or
    ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, and ``db`` a ``psycopg.Connection``. There the tables
    stand in the schema ``reactor``, or ``?schema=NAME``, which is searched first and made at the first use. The
    events may be in a store of any kind.

    The rows that a batch of events makes and the position behind it are one transaction, so a crash, or a second
    process that runs the same, changes nothing. ``apply`` runs on a thread of the projection's own, and must not
    commit; it may be called again for events whose transaction was rolled back. ``tables`` is the SQL that makes
    the tables (and indexes). A new ``version`` of ``apply`` or ``tables`` asks for ``rebuild()``.

    Raises ArgumentError for what can't be a projection, MissingExtra where psycopg isn't installed.
    """

    def __init__(
        self,
        name: str,
        store: EventStore[T],
        apply: Callable[[sqlite3.Connection, StoredEvent[T]], object]
        | Callable[[psycopg.Connection[tuple[Any, ...]], StoredEvent[T]], object],
        *,
        tables: str,
        into: str,
        target: Target = ALL,
        version: int = 1,
    ) -> None:
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ArgumentError(f"Projection({name!r}): a name of letters, digits, _ and -")
        if isinstance(target, str):
            # Its rows stand at positions of the whole store; a stream's versions can't be compared with those.
            raise ArgumentError(f"Projection({name!r}, target={target!r}): ALL or a Category")
        store.source(target)  # says what is wrong with it
        self.name = name
        self._store = store
        self._apply = cast(Callable[[Any, StoredEvent[T]], object], apply)
        self._target = target
        self._tables = _tables(name, version, tables, into)

    async def catch_up(self) -> int:
        """Apply the events that came since the last time; return the position to go on at.

        Raises what ``apply`` raises, ProjectionError where the tables are of another version, and StoreUnreachable
        where a server doesn't answer for 15 seconds.
        """
        async with self._thread() as (thread, tables):
            return await self._go_on(thread, tables, follow=False, poll=1.0)

    async def run(self, *, poll: Duration = 1.0) -> None:
        """Catch up, and then apply what comes, until it is cancelled; wait for servers that are away."""
        async with self._thread() as (thread, tables):
            await self._go_on(thread, tables, follow=True, poll=poll)

    async def rebuild(self) -> int:
        """Make the tables anew from all events, in a file or schema aside, and put them in place at once.

        That is one transaction; until then the old ones are read, and may be run, as before. Returns the position
        to go on at. In PostgreSQL it needs the right to CREATE schemas in the database, keeps what was GRANTed on
        tables of the same name, and waits up to a minute for transactions that read the old ones to end.
        """
        async with self._thread() as (thread, tables):
            aside = tables.aside()
            await thread.ask(aside.remove).wait()
            try:
                while True:
                    position = await self._go_on(thread, aside, follow=False, poll=1.0)
                    with anyio.CancelScope(shield=True):
                        if await thread.ask(lambda: tables.take(aside)).wait():
                            return position
            finally:
                with anyio.CancelScope(shield=True):
                    try:
                        await thread.ask(aside.remove).wait()
                    finally:
                        await thread.ask(aside.close).wait()

    async def position(self) -> int:
        """Return the position of the first event that isn't in the tables."""
        async with self._thread() as (thread, tables):
            return await thread.ask(tables.position).wait()

    async def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that changes nothing. Values stand for ``?``, in PostgreSQL for ``%s``."""
        async with self._thread() as (thread, tables):
            return await thread.ask(lambda: tables.query(sql, values)).wait()

    @asynccontextmanager
    async def _thread(self) -> AsyncGenerator[tuple[OwnThread, Tables], None]:
        # A connection is of the thread that made it: each call has its own pair.
        tables = self._tables()
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
                position = await self._advance(thread, tables, events, position, end, patient=follow)
                if position != end:  # another process was faster, or built the tables anew
                    await source.seek(position)
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()
        return position

    async def _advance(
        self,
        thread: OwnThread,
        tables: Tables,
        events: Sequence[StoredEvent[T]],
        start: int,
        end: int,
        *,
        patient: bool,
    ) -> int:
        waiting = False
        while True:
            position = start
            try:
                # Not given up half-way: the thread would still be at it when its connection is closed.
                with anyio.CancelScope(shield=True):
                    position = await thread.ask(
                        lambda: tables.advance(events, start, end, self._apply_all)
                    ).wait()
                return position
            except StoreUnreachable as error:
                if not patient:
                    raise
                if not waiting:
                    log.warning("projection %s: waiting for its tables: %s", self.name, error)
                waiting = True
            await anyio.sleep(_PAUSE)

    def _apply_all(self, db: Any, events: Sequence[StoredEvent[T]]) -> None:
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
    """One state of all events, kept as JSON with its position, in SQLite or PostgreSQL as of Projection."""

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
        blob, mark = ("BYTEA", "%s") if str(into).startswith("postgres") else ("BLOB", "?")
        super().__init__(
            name,
            store,
            _nothing,
            tables=f"CREATE TABLE {table} (one INTEGER PRIMARY KEY CHECK (one = 0), state {blob} NOT NULL)",
            into=into,
            target=target,
            version=version,
        )
        self._table = table
        self._save = (
            f"INSERT INTO {table} VALUES (0, {mark}) ON CONFLICT (one) DO UPDATE SET state = excluded.state"
        )
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

    def _apply_all(self, db: Any, events: Sequence[StoredEvent[T]]) -> None:
        if not events:
            return
        state = self._state(db.execute(f"SELECT state FROM {self._table}").fetchall())
        for event in events:
            state = self._step(state, event)
        data = msgspec.json.encode(cast(object, state))
        db.execute(self._save, (data,))


def _tables(name: str, version: int, sql: str, into: str) -> Callable[[], Tables]:
    scheme = into.partition(":")[0] if isinstance(into, str) else ""
    if scheme == "sqlite":
        return sqlite_tables(name, version, sql, into)
    if scheme in ("postgresql", "postgres"):
        from reactor.eventstore.postgres_tables import postgres_tables

        return postgres_tables(name, version, sql, into)
    raise ArgumentError(
        f"Projection({name!r}, into={redacted(str(into))!r}): write sqlite:PATH or postgresql://..., for example "
        "sqlite:views.db"
    )


def _nothing(db: Any, event: StoredEvent[Any]) -> None:
    pass
