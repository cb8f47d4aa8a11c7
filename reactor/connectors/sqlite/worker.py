"""A thread with a connection of its own: whatever SQLite does, the event loop doesn't wait for the disk."""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from reactor.connectors.loops import AwaitableThread, Waiter
from reactor.connectors.sqlite.schema import connect, explain
from reactor.core import Closed, TopicError

R = TypeVar("R")

Work = Callable[[sqlite3.Connection], Any]

GROUP = 256
"""Jobs that share one transaction at most, so that the first of them doesn't wait for long."""


class _Job(NamedTuple):
    work: Work
    waiter: Waiter[Any] | None


class Worker:
    """Runs jobs one after the other. A writer puts all that wait into one transaction: one fsync for all."""

    def __init__(self, path: str, *, writer: bool, committed: Work | None = None) -> None:
        self._path = path
        self._writer = writer
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self.lost = False
        """True once the file was found to be deleted or replaced: every call fails from then on."""
        role = "writer" if writer else "reader"
        self._thread = AwaitableThread(self._run, f"reactor {role} {path}")
        self._thread.start()

    async def call(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run it on the thread, and return what it returns once that is committed.

        ``work`` may be run a second time, after a rollback. If this is cancelled, it may still be done.
        """
        if self._closed:
            raise Closed(f"{self._path}: used after close")
        waiter: Waiter[R] = Waiter()
        self._jobs.put(_Job(work, waiter))
        return await waiter.wait()

    def post(self, work: Work) -> None:
        """Run it on the thread some time; nobody hears of its result."""
        if not self._closed:
            self._jobs.put(_Job(work, None))

    async def close(self) -> None:
        """Do what was asked for before, close the connection, and wait for the thread's end."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await self._thread.ended()

    # On the thread:

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                jobs = [job]
                last = False
                while self._writer and len(jobs) < GROUP:
                    try:
                        more = self._jobs.get_nowait()
                    except queue.Empty:
                        break
                    if more is None:
                        last = True
                        break
                    jobs.append(more)
                self._do([job for job in jobs if not (job.waiter and job.waiter.abandoned)])
                if last:
                    break
        finally:
            self._disconnect()

    def _do(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        begun = False
        try:
            db = self._connected()
            if self._writer:
                db.execute("BEGIN IMMEDIATE")
            begun = True
            if self._writer:
                results = [job.work(db) for job in jobs]
                db.execute("COMMIT")
            else:
                results = [jobs[0].work(db)]
        except BaseException as error:
            self._rollback()
            if begun and len(jobs) > 1:
                # One of them spoiled it for all: each gets a transaction, and a result, of its own.
                for job in jobs:
                    self._do([job])
                return
            for job in jobs:
                if job.waiter is not None:
                    job.waiter.fail(self._meaning(error))
            return
        for job, result in zip(jobs, results, strict=True):
            if job.waiter is not None:
                job.waiter.succeed(result)
        if self._committed is not None:
            try:
                self._committed(db)
            except sqlite3.Error:
                pass  # it only wakes readers, who look by themselves now and then

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = connect(self._path)
            self._inode = self._look()
        elif self.lost or self._look() != self._inode:
            # SQLite would go on with the file that has no name any more: what it stores there is lost.
            self.lost = True
            raise TopicError(
                f"{self._path}: was deleted or replaced while it was open; "
                "end all who use it before you do that, and begin again"
            )
        return self._db

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _meaning(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            meaning = explain(error, self._path)
            meaning.__cause__ = error
            return meaning
        return error

    def _rollback(self) -> None:
        if self._db is not None and self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                self._disconnect()  # closing rolls back too; the next job opens anew

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass
