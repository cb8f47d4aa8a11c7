"""Threads with a connection of their own: psycopg waits for the server, the event loop doesn't."""

from __future__ import annotations

import json
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import sql

from reactor.connectors.loops import AwaitableThread, Waiter
from reactor.core import Closed, ReactorError
from reactor.eventstore import postgres_rows as rows
from reactor.eventstore.events import ALL
from reactor.eventstore.postgres_place import Place
from reactor.eventstore.postgres_schema import Db, connect, explain, lost

R = TypeVar("R")

PATIENCE = 15.0
"""Seconds in which a lost connection is made anew before the calls that need it fail: a server that was started
again, after a crash too, is mostly there by then."""

GROUP = 256
"""Calls that share one turn at most, so that the first of them doesn't wait for long."""

_FIRST, _LAST = 0.05, 5.0
_PAYLOAD = 7900  # bytes: NOTIFY takes less than 8000


class _Call(NamedTuple):
    work: Callable[[Db], Any]
    waiter: Waiter[Any]


class Worker:
    """Runs calls one after the other. A writer puts all that wait into one turn, with one commit for all.

    A call may be run again, on another connection, when one was lost; each of the store's is fit for that: an
    append has its ids, the others set something to what they were given.
    """

    def __init__(self, place: Place, *, writer: bool) -> None:
        self.touched: set[str] = set()
        """The streams that the calls of this turn have appended to."""
        self._place = place
        self._writer = writer
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._db: Db | None = None
        role = "writer" if writer else "reader"
        self._thread = AwaitableThread(self._run, f"reactor {role} {place.identity}")
        self._thread.start()

    async def call(self, work: Callable[[Db], R]) -> R:
        """Run it on the thread, and return what it returns once that is committed.

        If this is cancelled, it may still be done.
        """
        if self._closing.is_set():
            raise Closed(f"{self._place.shown}: used after close")
        waiter: Waiter[R] = Waiter()
        self._calls.put(_Call(work, waiter))
        return await waiter.wait()

    async def close(self) -> None:
        """Do what was asked for before, close the connection, and wait for the thread's end."""
        if not self._closing.is_set():
            self._closing.set()
            self._calls.put(None)
        await self._thread.ended()

    # On the thread:

    def _run(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                calls = [call]
                last = False
                while self._writer and len(calls) < GROUP and not last:
                    try:
                        more = self._calls.get_nowait()
                    except queue.Empty:
                        break
                    last = more is None
                    if more is not None:
                        calls.append(more)
                self._do([call for call in calls if not call.waiter.abandoned])
                del call, calls
                if last:
                    break
        finally:
            self._disconnect()

    def _do(self, calls: list[_Call]) -> None:
        if not calls:
            return
        until = time.monotonic() + PATIENCE
        delay = _FIRST
        while True:
            try:
                outcomes = self._turn(calls) if self._writer else self._look(calls)
                break
            except Exception as error:
                meaning: Exception = error
                if isinstance(error, psycopg.Error):
                    meaning = explain(error, self._place, self._db)
                    # An error that holds the connection's settings holds the password.
                    meaning.__cause__ = error if error.pgconn is None else None
                gone = lost(self._db, error)
            if gone:
                self._disconnect()
                if self._place.reached and time.monotonic() + delay < until and not self._closing.wait(delay):
                    delay = min(2 * delay, _LAST)
                    continue
            else:
                self._roll_back()
                if len(calls) > 1:
                    # One of them spoiled it for all: each gets a turn, and an outcome, of its own.
                    for call in calls:
                        self._do([call])
                    return
            outcomes = [meaning] * len(calls)
            break
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                call.waiter.fail(outcome)
            else:
                call.waiter.succeed(outcome)

    def _connected(self) -> Db:
        if self._db is None:
            self._db = connect(self._place)
        return self._db

    def _look(self, calls: list[_Call]) -> list[Any]:
        db = self._connected()
        return [call.work(db) for call in calls]

    def _turn(self, calls: list[_Call]) -> list[Any]:
        db = self._connected()
        db.execute(rows.TURN)
        self.touched.clear()
        outcomes: list[Any] = []
        for call in calls:
            try:
                outcomes.append(call.work(db))
            except ReactorError as error:
                outcomes.append(error)  # it has refused before it wrote anything
        if self.touched:
            channel = channel_of(self._place)
            db.execute("SELECT pg_notify(%s, %s)", (channel, packed(self.touched)))
        db.execute(b"COMMIT")
        return outcomes

    def _roll_back(self) -> None:
        if self._db is not None and not self._db.closed:
            try:
                self._db.execute(b"ROLLBACK")  # outside of a transaction it is only a warning
            except psycopg.Error:
                self._disconnect()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def channel_of(place: Place) -> str:
    """Return where a store's writers call its readers; channels are a database's own."""
    return f"reactor_{place.schema}"


def packed(streams: Collection[str]) -> str:
    """Return what is sent: the names of the streams, or nothing where they are too many: look at all."""
    payload = json.dumps(sorted(streams), ensure_ascii=False)
    return payload if len(payload.encode()) < _PAYLOAD else ""


def unpacked(payload: str) -> list[str] | None:
    """Return the names of the streams, None for all of them (and for what isn't ours)."""
    try:
        streams = json.loads(payload)
    except ValueError:
        return None
    return streams if isinstance(streams, list) else None


class Listener:
    """The thread that hears the writers of all processes, through LISTEN.

    ``heard(streams)`` is called on it when there may be something new: None for all streams. A call that was lost
    is made up for: after each new connection all are looked at, and each ``poll`` seconds those that the last
    position says something new of.
    """

    def __init__(self, place: Place, poll: float, heard: Callable[[Collection[str] | None], None]) -> None:
        self._place = place
        self._poll = poll
        self._heard = heard
        self._stopped = False
        # The selector below wakes up from it: a lock, which a thread could wait for, isn't a file.
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._thread = AwaitableThread(self._run, f"reactor listener {place.identity}")
        self._thread.start()

    def hurry(self, poll: float) -> None:
        """Look at least each ``poll`` seconds from now on."""
        if poll < self._poll:
            self._poll = poll
            self._nudge()

    async def close(self) -> None:
        """End the thread and wait for it."""
        self._stopped = True
        self._nudge()
        await self._thread.ended()

    def _nudge(self) -> None:
        try:
            self._there.send(b"!")
        except OSError:
            pass  # it is full, and so wakes up anyway, or the thread has ended

    # On the thread:

    def _run(self) -> None:
        delay = _FIRST
        with self._here, self._there, selectors.DefaultSelector() as selector:
            selector.register(self._here, selectors.EVENT_READ)
            while not self._stopped:
                began = time.monotonic()
                try:
                    self._listen(selector)
                except (psycopg.Error, ReactorError):
                    # Who reads looks now, and finds out what it is. Until there is a connection again, by itself.
                    self._heard(None)
                    delay = _FIRST if time.monotonic() - began > _LAST else min(2 * delay, _LAST)
                    self._pause(selector, min(delay, self._poll))

    def _listen(self, selector: selectors.BaseSelector) -> None:
        db = connect(self._place)
        try:
            db.add_notify_handler(lambda notify: self._heard(unpacked(notify.payload)))
            db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(self._place))))
            seen = rows.end(db, ALL)
            self._heard(None)
            looked = time.monotonic()
            number = db.fileno()  # a connection that is lost has none any more
            selector.register(number, selectors.EVENT_READ)
            try:
                while not self._stopped:
                    self._pause(selector, looked + self._poll - time.monotonic())
                    self._take_in(db)
                    if time.monotonic() - looked >= self._poll:
                        looked = time.monotonic()
                        end = rows.end(db, ALL)
                        if end != seen:
                            seen = end
                            self._heard(None)
            finally:
                selector.unregister(number)
        finally:
            db.close()

    def _take_in(self, db: Db) -> None:
        """Take what has come; psycopg's own ``notifies()`` can't be woken from outside."""
        db.pgconn.consume_input()
        while (notify := db.pgconn.notifies()) is not None:
            self._heard(unpacked(notify.extra.decode()))

    def _pause(self, selector: selectors.BaseSelector, seconds: float) -> None:
        for key, _ in selector.select(max(0.001, seconds)):
            if key.fileobj is self._here:
                self._here.recv(1024)
