"""One topic of a log in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence

import anyio

from reactor.connectors.log import Batch, Decode, Entry, Log, Start
from reactor.connectors.sqlite import statements
from reactor.connectors.sqlite.doorbell import Doorbell, Ringer
from reactor.connectors.sqlite.staging import SqliteStaging
from reactor.connectors.sqlite.worker import Worker
from reactor.connectors.staging import Staging
from reactor.core import TopicError

_lock = threading.Lock()
_open: dict[tuple[int, str], _File] = {}


class _File:
    """A file that this process has open: one thread that writes, one that reads, for all of its topics."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = 0
        self.rings: dict[str | None, list[Callable[[], None]]] = {}
        """By topic; None for those who want to hear of every topic."""
        self.touched: set[str] = set()
        self.doorbell: Doorbell | None = None
        self._seen: int | None = None
        self._ringer = Ringer()
        self.writer = Worker(path, writer=True, committed=self._committed)
        self.reader = Worker(path, writer=False)

    def ring(self, *topics: str) -> None:
        """Wake the readers of these topics, or of all; from any thread."""
        for topic in (*topics, None) if topics else tuple(self.rings):
            for ring in tuple(self.rings.get(topic, ())):
                ring()

    def check(self) -> None:
        """Wake the readers if another connection has written since the last time; from any thread."""
        self.reader.post(self._look)
        if self.reader.lost:
            self.ring()  # so that they hear of it
        doorbell = self.doorbell
        if doorbell is not None and not doorbell.hung:
            self.writer.post(doorbell.hang)

    def _look(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version != self._seen:
            self._seen = version
            self.ring()

    def _committed(self, db: sqlite3.Connection) -> None:
        if self.touched:
            touched = tuple(self.touched)
            self.touched.clear()
            self.ring(*touched)
            self._ringer.ring(db, self.doorbell.port if self.doorbell else None, touched)

    def sweep(self, db: sqlite3.Connection) -> None:
        """Forget dead doorbells, in a transaction of the writer that is there anyway."""
        self._ringer.sweep(db)

    async def listen(self, topic: str | None, ring: Callable[[], None], poll: float) -> None:
        with _lock:
            self.rings.setdefault(topic, []).append(ring)
            doorbell = self.doorbell
            if doorbell is None:
                doorbell = self.doorbell = Doorbell(poll, self.ring, self.check)
            doorbell.hurry(poll)
        if not doorbell.hung:
            try:
                await self.writer.call(doorbell.hang)
            except TopicError:
                doorbell.hung = False  # locked, or no room: who only reads can do so; a check tries again

    async def ignore(self, topic: str | None, ring: Callable[[], None]) -> None:
        with _lock:
            rings = self.rings.get(topic, [])
            if ring in rings:
                rings.remove(ring)
            if not rings:
                self.rings.pop(topic, None)
            doorbell = None
            if not self.rings:
                doorbell, self.doorbell = self.doorbell, None
        if doorbell is not None:
            self.writer.post(doorbell.take_down)
            await doorbell.close()

    async def close(self) -> None:
        await self.reader.close()
        self.writer.post(lambda db: self._ringer.close())
        await self.writer.close()


class FileUser:
    """Whoever uses the file at ``path``: all of one process share its threads."""

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        # Not abspath: that asks for the working directory also where it isn't needed.
        self.path = os.path.normpath(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
        self._file: _File | None = None
        self._ready: _File | None = None
        """The file once it is known that it can be opened."""
        self._users = 0

    async def open(self) -> None:
        with _lock:
            if self._file is None:
                # The process's number is part of the name: threads don't survive a fork.
                name = (os.getpid(), self.path)
                file = _open.get(name)
                if file is None:
                    file = _open[name] = _File(self.path)
                file.users += 1
                self._file = file
            self._users += 1
            opened, reader = self._file, self._file.reader
        if self._ready is opened:  # it is open already: no need to ask its thread
            return
        try:
            await reader.call(lambda db: None)
            self._ready = opened
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        with _lock:
            file = self._file
            assert file is not None
            self._users -= 1
            if self._users:
                return
            self._file = self._ready = None
            file.users -= 1
            last = file.users == 0
            if last:
                _open.pop((os.getpid(), self.path), None)
        if last:
            await file.close()

    @property
    def _running(self) -> _File:
        if self._file is None:
            raise RuntimeError(f"{self.url}: used before open()")
        return self._file


class SqliteLog(FileUser, Log):
    """The topic of this name in the file at ``path``."""

    transactional = True

    def __init__(self, url: str, path: str, topic: str) -> None:
        super().__init__(url, path)
        self.topic = topic
        self.identity = f"sqlite:{self.path}/{topic}"

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        file = self._running

        def work(db: sqlite3.Connection) -> list[int]:
            number = statements.number_for(db, self.topic)
            positions = statements.append(db, number, entries)
            file.sweep(db)
            file.touched.add(self.topic)
            return positions

        return await file.writer.call(work)

    async def recover(self, owner: str, decided: int, fence: int) -> Staging[Entry]:
        staging = SqliteStaging(self, self.topic, owner)
        await staging.recover(decided, fence)
        return staging

    async def fetch(self, position: int, limit: int, decode: Decode) -> Batch | None:
        file = self._running

        def work(db: sqlite3.Connection) -> Batch | None:
            number = statements.number_of(db, self.topic)
            if number is None:
                return None
            rows = statements.fetch(db, self.path, self.topic, number, position, limit)
            return decode(rows) if rows else None

        return await file.reader.call(work)

    async def length(self) -> int:
        return await self._running.reader.call(
            lambda db: statements.length(db, statements.number_of(db, self.topic))
        )

    async def groups(self) -> dict[str, int]:
        return await self._running.reader.call(lambda db: statements.groups(db, self.topic))

    async def join(self, group: str, start: Start) -> int:
        return await self._running.writer.call(
            lambda db: statements.join(db, self.path, self.topic, group, start)
        )

    async def commit(self, group: str, position: int) -> None:
        await self._running.writer.call(lambda db: statements.commit(db, self.topic, group, position))

    async def reset(self, group: str, position: int) -> None:
        await self._running.writer.call(lambda db: statements.reset(db, self.topic, group, position))

    async def listen(self, ring: Callable[[], None], poll: float) -> None:
        await self._running.listen(self.topic, ring, poll)

    async def ignore(self, ring: Callable[[], None]) -> None:
        await self._running.ignore(self.topic, ring)
