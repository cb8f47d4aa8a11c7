"""Checkpoints in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import anyio
import msgspec

from reactor.connectors.states import holders, kept, spool, statements
from reactor.connectors.states.file import FileThread, reading, writing
from reactor.connectors.states.kept import LAST, Claimed, Cut, Part
from reactor.delivery import Change, Checkpoint, CheckpointStore, Owner, Savepoint

R = TypeVar("R")


def _now() -> int:
    """The time of day, which the processes that share the file share."""
    return time.time_ns() // 1000


class SqliteStates(CheckpointStore):
    """The checkpoints in the file at ``path``, of any number of pipelines, in any number of processes."""

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self.path = path
        self._users = 0
        # The saver may be busy for seconds with rows; leases and questions have a thread of their own.
        self._saver: FileThread | None = None
        self._teller: FileThread | None = None
        self._read: dict[tuple[str, str], _Read] = {}
        self._watched: dict[str, tuple[Claimed, float]] = {}
        """Of each pipeline the claim that somebody waits for, and since when it is as it is."""

    def holder(self) -> str:
        return holders.holder()

    def done(self, holder: str) -> None:
        holders.done(holder)

    async def open(self) -> None:
        self._users += 1
        if self._saver is None or self._teller is None:
            self._saver = FileThread(self.path, "saver")
            self._teller = FileThread(self.path, "teller")
        try:
            # Both open the file now: one that did so later might find another in its place, or make one.
            await self._tell(lambda db, path: None)
            await self._change(lambda db, path: None)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        self._users -= 1
        if self._users:
            return
        saver, teller = self._saver, self._teller
        self._saver = self._teller = None
        self._read.clear()
        with anyio.CancelScope(shield=True):
            if saver is not None:
                await saver.close()
            if teller is not None:
                await teller.close()

    async def _tell(self, work: Callable[[sqlite3.Connection, str], R]) -> R:
        if self._teller is None:
            raise RuntimeError(f"{self.url}: used before open()")
        return await self._teller.call(work)

    async def _change(self, work: Callable[[sqlite3.Connection, str], R]) -> R:
        if self._saver is None:
            raise RuntimeError(f"{self.url}: used before open()")
        return await self._saver.call(work)

    # Owners -------------------------------------------------------------------------------------------------

    async def claim(self, pipeline: str, holder: str, lease: float) -> int | None:
        kept.check_names(pipeline)
        length = kept.micros(lease)

        def free(known: Claimed, now: int) -> bool:
            if known.holder in ("", holder) or holders.is_gone(known.holder):
                return True
            return known.until <= now and self._silent(pipeline, known)

        def work(db: sqlite3.Connection, path: str) -> int | None:
            known = statements.claimed(db, path, pipeline) or Claimed()
            # Who only waits takes no lock.
            if not free(known, _now()) and known.until <= _now() + known.lease:
                return None
            with writing(db):
                known = statements.claimed(db, path, pipeline) or Claimed()
                now = _now()
                new = known.claimed(holder, length, now) if free(known, now) else known.cut(now)
                statements.put_claimed(db, pipeline, new)
            return new.fence if new.holder == holder else None

        return await self._tell(work)

    def _silent(self, pipeline: str, known: Claimed) -> bool:
        """Whether its owner has not renewed a lease that is over by the time of day, which somebody may have set.

        Who is alive on this machine has a whole lease from when it was first seen so, by a clock that nobody sets.
        """
        if not holders.is_here(known.holder):
            return True
        seen, since = self._watched.get(pipeline, (None, 0.0))
        if seen != known:
            self._watched[pipeline] = known, time.monotonic()
            return False
        return time.monotonic() - since >= known.lease / 1_000_000

    async def renew(self, pipeline: str, fence: int, lease: float) -> None:
        length = kept.micros(lease)

        def work(db: sqlite3.Connection, path: str) -> None:
            with writing(db):
                known = statements.claimed(db, path, pipeline) or Claimed()
                known.check(path, pipeline, fence)
                statements.put_claimed(db, pipeline, known.renewed(length, _now()))

        await self._tell(work)

    async def release(self, pipeline: str, fence: int) -> None:
        def work(db: sqlite3.Connection, path: str) -> None:
            with writing(db):
                known = statements.claimed(db, path, pipeline)
                if known is not None and known.fence == fence:
                    statements.put_claimed(db, pipeline, known.released())

        await self._tell(work)

    async def owner(self, pipeline: str) -> Owner | None:
        def work(db: sqlite3.Connection, path: str) -> Owner | None:
            known = statements.claimed(db, path, pipeline)
            return None if known is None else known.owner(_now())

        return await self._tell(work)

    # The last checkpoint ------------------------------------------------------------------------------------

    async def last(self, pipeline: str) -> Checkpoint | None:
        def work(db: sqlite3.Connection, path: str) -> Checkpoint | None:
            with reading(db):
                found = statements.cut(db, path, pipeline)
            return None if found is None else found.checkpoint

        return await self._tell(work)

    async def rows(
        self, pipeline: str, operator: str, after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        def work(db: sqlite3.Connection, path: str) -> list[tuple[bytes, bytes]]:
            with reading(db):
                found = statements.cut(db, path, pipeline)
                part = None if found is None else found.parts.get(operator)
                if found is None or part is None:
                    return []
                rows = statements.page(db, path, pipeline, operator, part, after, limit)
            known = self._read.pop((pipeline, operator), None)
            if after is None:
                known = _Read(part)
            if known is not None and (after is None or known.last == after) and known.part == part:
                known.add(rows)
                if len(rows) < limit:
                    if not known.whole():
                        raise statements.lost(path, pipeline, operator)
                else:
                    self._read[pipeline, operator] = known
            return [(key, value) for key, value, _ in rows]

        return await self._tell(work)

    async def save(
        self, pipeline: str, fence: int, checkpoint: Checkpoint, changes: Sequence[Change]
    ) -> None:
        cancelled: list[bool] = []

        def work(db: sqlite3.Connection, path: str) -> None:
            # A first look, so that a run that doesn't count any more takes no trouble. What is read here still
            # stands when the lock is held, if the fence does: who changes a checkpoint raises it, or is its owner.
            with reading(db):
                (statements.claimed(db, path, pipeline) or Claimed()).check(path, pipeline, fence)
                last = statements.cut(db, path, pipeline)
            before = {} if last is None else last.parts
            try:
                slots = spool.fill(db, changes, lambda: bool(cancelled))
                parts = spool.tallied(db, before, checkpoint.operators, slots)
                with writing(db):
                    known = statements.claimed(db, path, pipeline) or Claimed()
                    known.check(path, pipeline, fence)
                    parts = spool.moved(db, before, parts, slots)
                    statements.put_cut(db, pipeline, LAST, Cut(checkpoint, parts))
                    statements.put_claimed(db, pipeline, known.saved_as(checkpoint.number, _now()))
            finally:
                with suppress(sqlite3.Error):
                    spool.empty(db)

        try:
            await self._change(work)
        except spool.Given as given:
            raise given.error from None
        except BaseException:
            cancelled.append(True)
            raise

    async def outline(self, pipeline: str) -> Savepoint | None:
        """Return how large the last checkpoint is, without a look at its rows."""

        def work(db: sqlite3.Connection, path: str) -> Savepoint | None:
            with reading(db):
                found = statements.cut(db, path, pipeline)
            return None if found is None else found.savepoint(pipeline, LAST)

        return await self._tell(work)

    # Savepoints ---------------------------------------------------------------------------------------------

    async def pipelines(self) -> list[str]:
        return await self._tell(lambda db, path: statements.pipelines(db))

    async def keep(self, pipeline: str, name: str) -> Savepoint:
        kept.check_names(pipeline, name)

        def work(db: sqlite3.Connection, path: str) -> Savepoint:
            with writing(db):
                if name in statements.names(db, pipeline):
                    raise kept.taken(path, pipeline, name)
                last = statements.cut(db, path, pipeline)
                if last is None:
                    raise kept.nothing_to_keep(path, pipeline)
                new = Cut(last.checkpoint, statements.copy(db, path, pipeline, last))
                statements.put_cut(db, pipeline, name, new)
            return new.savepoint(pipeline, name)

        return await self._change(work)

    async def savepoints(self, pipeline: str | None = None) -> list[Savepoint]:
        def work(db: sqlite3.Connection, path: str) -> list[Savepoint]:
            return [cut.savepoint(of, name) for of, name, cut in statements.cuts(db, path, pipeline)]

        return sorted(await self._tell(work), key=kept.age)

    async def restore(self, pipeline: str, name: str) -> Checkpoint:
        kept.check_names(pipeline, name)

        def work(db: sqlite3.Connection, path: str) -> Checkpoint:
            with writing(db):
                found = statements.cut(db, path, pipeline, name)
                if found is None:
                    raise kept.unknown(path, pipeline, statements.names(db, pipeline), name)
                known = statements.claimed(db, path, pipeline) or Claimed()
                known.check_free(path, pipeline, _now())
                number = max(known.number, found.checkpoint.number) + 1
                checkpoint = msgspec.structs.replace(found.checkpoint, number=number)
                statements.drop_cut(db, path, pipeline)
                parts = statements.copy(db, path, pipeline, found)
                statements.put_cut(db, pipeline, LAST, Cut(checkpoint, parts))
                statements.put_claimed(db, pipeline, known.changed(True, number))
            return checkpoint

        return await self._change(work)

    async def forget(self, pipeline: str, name: str | None = None) -> None:
        kept.check_names(pipeline, name)

        def work(db: sqlite3.Connection, path: str) -> None:
            with writing(db):
                if name is not None:
                    names = statements.names(db, pipeline)
                    if name not in names:
                        raise kept.unknown(path, pipeline, names, name)
                    statements.drop_cut(db, path, pipeline, name)
                    return
                known = statements.claimed(db, path, pipeline)
                if known is not None:
                    known.check_free(path, pipeline, _now())
                    statements.put_claimed(db, pipeline, known.changed(False, known.number))
                statements.drop_cut(db, path, pipeline)

        await self._change(work)


class _Read:
    """What somebody has read of an operator's rows so far, page by page: at the end, none may be missing."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.last: bytes | None = None
        self._rows = 0
        self._sum = 0

    def add(self, rows: list[tuple[bytes, bytes, int]]) -> None:
        self._rows += len(rows)
        self._sum += sum(each for _, _, each in rows)
        if rows:
            self.last = rows[-1][0]

    def whole(self) -> bool:
        return (self._rows, self._sum) == (self.part.rows, self.part.sum)
