"""Streams in PostgreSQL: the tables of one schema, for any number of processes on any machines."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence

import anyio

from reactor.connectors.log import Entry, Start
from reactor.core import MissingExtra
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import Appended, Category, Expected, Page, Target, category_of

try:
    from reactor.eventstore import postgres_rows as rows
    from reactor.eventstore.postgres_place import Place
    from reactor.eventstore.postgres_schema import Db
    from reactor.eventstore.postgres_threads import Listener, Worker
except ImportError as error:
    if (error.name or "psycopg").partition(".")[0] != "psycopg":
        raise
    raise MissingExtra("event_store('postgresql://...')", "postgres") from error

_lock = threading.Lock()
_open: dict[tuple[int, int], _Store] = {}


class _Store:
    """A store that this process has open: one connection that writes, one that reads, one that listens."""

    def __init__(self, place: Place) -> None:
        self.users = 0
        self.place = place
        self.writer = Worker(place, writer=True)
        self.reader = Worker(place, writer=False)
        self._rings: list[tuple[Target, Callable[[], None]]] = []
        self._listener: Listener | None = None

    def heard(self, streams: Collection[str] | None) -> None:
        """Wake who waits for one of these streams, or for all; from any thread."""
        if streams is None:
            for _, ring in tuple(self._rings):
                ring()
            return
        categories = {category_of(stream) for stream in streams}
        for target, ring in tuple(self._rings):
            wanted = (
                target in streams
                if isinstance(target, str)
                else target.name in categories
                if isinstance(target, Category)
                else True
            )
            if wanted:
                ring()

    def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        with _lock:
            self._rings.append((target, ring))
            if self._listener is None:
                self._listener = Listener(self.place, poll, self.heard)
            self._listener.hurry(poll)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        with _lock:
            if (target, ring) in self._rings:
                self._rings.remove((target, ring))
            listener = None
            if not self._rings:
                listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()

    async def close(self) -> None:
        await self.reader.close()
        await self.writer.close()


class PostgresBackend(Backend):
    """The streams in the schema at ``url``, whose connections all of this process share."""

    def __init__(self, url: str) -> None:
        self._place = Place(url)
        self.url = self._place.shown
        self.identity = self._place.identity
        self._store: _Store | None = None
        self._users = 0

    async def open(self) -> None:
        with _lock:
            if self._store is None:
                store = _open.get(self._name)
                if store is None:
                    store = _open[self._name] = _Store(self._place)
                store.users += 1
                self._store = store
            self._users += 1
            if self._users > 1:
                return  # somebody else of this object has asked, or is about to
            reader = self._store.reader
        try:
            await reader.call(lambda db: None)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        with _lock:
            store = self._store
            assert store is not None
            self._users -= 1
            if self._users:
                return
            self._store = None
            store.users -= 1
            last = store.users == 0
            if last:
                _open.pop(self._name, None)
        if last:
            await store.close()

    @property
    def _name(self) -> tuple[int, int]:
        # The process's number is part of the name: threads don't survive a fork.
        return os.getpid(), self._place.token

    @property
    def _running(self) -> _Store:
        if self._store is None:
            raise RuntimeError(f"{self.url}: used before open()")
        return self._store

    async def append(self, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
        writer = self._running.writer

        def work(db: Db) -> Appended:
            appended = rows.append(db, stream, entries, expected)
            if entries and not appended.repeated:
                writer.touched.add(stream)
            return appended

        return await writer.call(work)

    async def end(self, target: Target) -> int:
        return await self._running.reader.call(lambda db: rows.end(db, target))

    async def page(self, target: Target, start: int, limit: int, *, backwards: bool = False) -> Page:
        return await self._running.reader.call(
            lambda db: rows.page(db, self.url, target, start, limit, backwards)
        )

    async def streams(self) -> list[str]:
        return await self._running.reader.call(rows.streams)

    async def join(self, target: Target, group: str, start: Start) -> int:
        return await self._running.writer.call(lambda db: rows.join(db, self.url, target, group, start))

    async def commit(self, target: Target, group: str, position: int) -> None:
        await self._running.writer.call(lambda db: rows.commit(db, target, group, position))

    async def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        self._running.listen(target, ring, poll)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        await self._running.ignore(target, ring)

    async def save_snapshot(self, stream: str, name: str, version: int, data: bytes) -> None:
        await self._running.writer.call(lambda db: rows.save_snapshot(db, stream, name, version, data))

    async def snapshot(self, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
        return await self._running.reader.call(lambda db: rows.snapshot(db, stream, name, until))

    async def set_metadata(self, stream: str, data: bytes) -> bool:
        return await self._running.writer.call(lambda db: rows.set_metadata(db, stream, data))

    async def metadata(self, stream: str) -> bytes | None:
        return await self._running.reader.call(lambda db: rows.metadata(db, stream))
