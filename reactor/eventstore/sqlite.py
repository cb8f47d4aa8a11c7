"""Streams in a SQLite file: the topics of the embedded broker, ``sqlite:PATH/...``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from reactor.connectors.log import Entry, Start
from reactor.connectors.sqlite import statements
from reactor.connectors.sqlite.log import FileUser
from reactor.eventstore import rows
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import Appended, Expected, Page, Target, decide


class SqliteBackend(FileUser, Backend):
    """The streams of the file at ``path``, which the topics of this process and of others write to as well."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(url, path)
        self.identity = f"sqlite:{self.path}"

    async def append(self, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
        file = self._running

        def work(db: sqlite3.Connection) -> Appended:
            number = statements.number_of(db, stream)
            ids = [str(entry[0]) for entry in entries]
            known = rows.known(db, number, ids)
            repeated = decide(stream, ids, known, statements.length(db, number) - 1, expected)
            if repeated is not None and number is not None:
                return Appended(repeated, rows.position_of(db, number, repeated), repeated=True)
            if not entries:
                return Appended(statements.length(db, number) - 1, None)
            number = statements.number_for(db, stream)
            version = statements.append(db, number, entries)[-1]
            file.sweep(db)
            file.touched.add(stream)
            return Appended(version, rows.position_of(db, number, version))

        return await file.writer.call(work)

    async def end(self, target: Target) -> int:
        return await self._running.reader.call(lambda db: rows.end(db, target))

    async def page(self, target: Target, start: int, limit: int, *, backwards: bool = False) -> Page:
        if isinstance(target, str):
            return await self._running.reader.call(
                lambda db: rows.of_stream(db, self.path, target, start, limit, backwards)
            )
        return await self._running.reader.call(
            lambda db: rows.of_all(db, self.path, target, start, limit, backwards)
        )

    async def streams(self) -> list[str]:
        return await self._running.reader.call(rows.streams)

    async def join(self, target: Target, group: str, start: Start) -> int:
        if isinstance(target, str):
            return await self._running.writer.call(
                lambda db: statements.join(db, self.path, target, group, start)
            )
        name = rows.group_of(target, group)
        return await self._running.writer.call(lambda db: rows.join(db, self.path, name, group, start))

    async def commit(self, target: Target, group: str, position: int) -> None:
        if isinstance(target, str):
            await self._running.writer.call(lambda db: statements.commit(db, target, group, position))
        else:
            name = rows.group_of(target, group)
            await self._running.writer.call(lambda db: rows.commit(db, name, position))

    async def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        await self._running.listen(target if isinstance(target, str) else None, ring, poll)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        await self._running.ignore(target if isinstance(target, str) else None, ring)

    async def save_snapshot(self, stream: str, name: str, version: int, data: bytes) -> None:
        def work(db: sqlite3.Connection) -> None:
            number = statements.number_for(db, stream)
            db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (number, name, version, data))

        await self._running.writer.call(work)

    async def snapshot(self, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
        def work(db: sqlite3.Connection) -> tuple[int, bytes] | None:
            row = db.execute(
                "SELECT version, data FROM snapshots WHERE topic = ? AND name = ? AND version <= ?"
                " ORDER BY version DESC LIMIT 1",
                (statements.number_of(db, stream), name, (1 << 40) if until is None else until),
            ).fetchone()
            return None if row is None else (int(row[0]), bytes(row[1]))

        return await self._running.reader.call(work)

    async def set_metadata(self, stream: str, data: bytes) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            number = statements.number_of(db, stream)
            if not statements.length(db, number):
                return False
            db.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?)", (number, data))
            return True

        return await self._running.writer.call(work)

    async def metadata(self, stream: str) -> bytes | None:
        def work(db: sqlite3.Connection) -> bytes | None:
            number = statements.number_of(db, stream)
            row = db.execute("SELECT data FROM metadata WHERE topic = ?", (number,)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._running.reader.call(work)
