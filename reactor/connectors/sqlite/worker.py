"""A thread with a connection of its own: whatever SQLite does, the event loop doesn't wait for the disk."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import anyio

from reactor.connectors.loops import Waiter
from reactor.connectors.sqlite.schema import connect, explain
from reactor.core import Closed

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
        role = "writer" if writer else "reader"
        # A daemon, so that a log that was never closed doesn't keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name=f"reactor {role} {path}", daemon=True)
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
        # Until its end is told to the loop the thread would still be alive: this is the only sure way.
        while self._thread.is_alive():  # noqa: ASYNC110
            await anyio.sleep(0.001)

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
        try:
            if self._db is None:
                self._db = connect(self._path)
            db = self._db
            if self._writer:
                db.execute("BEGIN IMMEDIATE")
                results = [job.work(db) for job in jobs]
                db.execute("COMMIT")
            else:
                results = [jobs[0].work(db)]
        except BaseException as error:
            self._rollback()
            if len(jobs) > 1:
                # One of them spoiled it for all: each gets a transaction, and a result, of its own.
                for job in jobs:
                    self._do([job])
            elif (waiter := jobs[0].waiter) is not None:
                waiter.fail(self._meaning(error))
            return
        for job, result in zip(jobs, results, strict=True):
            if job.waiter is not None:
                job.waiter.succeed(result)
        if self._committed is not None:
            try:
                self._committed(db)
            except sqlite3.Error:
                pass  # it only wakes readers, who look by themselves now and then

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
