"""Following a stream, a category or all: what is there, and then what comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel

from reactor.connectors.codec import NO_HEADERS
from reactor.connectors.log import Decode, Start
from reactor.connectors.loops import Post, poster
from reactor.core import ArgumentError, Record, Source, UsedTwice
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import Found, StoredEvent, StoreUnreachable, Target

log = logging.getLogger("reactor")

T = TypeVar("T")
R = TypeVar("R")

_COMMIT = 60.0
"""Seconds for which a commit waits for a server that is gone; a read waits for as long as it takes."""
_FIRST, _LAST = 0.1, 5.0


class Decoded(NamedTuple):
    """What came of some events: records of StoredEvents, and what doesn't fit."""

    records: list[Record[StoredEvent[Any]]]
    bad: list[tuple[int, Record[Any], Exception]]
    """each with the number of good records before it"""


def decoded(found: Sequence[Found], target: Target, decode: Decode) -> Decoded:
    """Decode events; a record's position is the version where one stream is read, else the position."""
    if not found:
        return Decoded([], [])
    by = {event.at(target): event for event in found}
    batch = decode([(at, e.type, e.key, e.headers, e.time, e.data) for at, e in by.items()])
    records: list[Record[StoredEvent[Any]]] = []
    for record in batch.records:
        assert record.position is not None
        stream, version, position, id, type, key, headers, time, _ = by[record.position]
        value = StoredEvent(
            record.value, stream, version, position, type, id, key, headers or NO_HEADERS, time
        )
        records.append(Record(value, key, record.headers, time, record.position, stream, record.raw))
    return Decoded(records, [(bad.before, bad.record, bad.error) for bad in batch.bad])


class Subscription(Source[StoredEvent[T]]):
    """The events from a position on, in order, none left out and none twice; then what is appended."""

    def __init__(
        self,
        backend: Backend,
        target: Target,
        decode: Decode,
        *,
        group: str | None,
        start: Start,
        follow: bool,
        poll: float,
    ) -> None:
        what = target if isinstance(target, str) else getattr(target, "name", "all").lower()
        self.name = str(what)
        self.replay = group is not None
        self.identity = None if group is None else f"{backend.identity}/{target!r}#{group}"
        self._backend = backend
        self._target = target
        self._decode = decode
        self._group = group
        self._start: Start = start
        self._follow = follow
        self._poll = poll
        self._next = 0
        self._end: int | None = None
        self._opened = self._listening = self._waiting = False
        self._bell: anyio.Event | None = None
        self._post: Post | None = None

    async def open(self) -> None:
        """Go to the group's position; without ``follow``, the end as of now is the end."""
        if self._opened:
            raise UsedTwice(f"{self.name}: this source is open already; make another one for another run")
        self._post = poster()
        await self._backend.open()
        self._opened = True
        self._end = None
        if self._group is not None:
            self._next = await self._backend.join(self._target, self._group, self._start)
        elif self._start == "latest":
            self._next = await self._backend.end(self._target)
        else:
            self._next = self._start if isinstance(self._start, int) else 0
        if self._follow:
            self._listening = True
            await self._backend.listen(self._target, self._ring, self._poll)
        else:
            self._end = await self._backend.end(self._target)

    async def read(self, limit: int) -> Sequence[Record[StoredEvent[T]]] | None:
        """Return up to ``limit`` records, none where all that it saw was passed over; None at the end.

        Nothing is consumed until it returns. Raises DecodeError for an event that doesn't fit, again and again,
        unless ``reject`` takes it.
        """
        if limit < 1:
            raise ArgumentError(f"read(limit={limit}): must be >= 1")
        while True:
            if self._end is not None and self._next >= self._end:
                await anyio.lowlevel.checkpoint()
                return None
            # The bell stands before the look: what is appended after the look rings it.
            bell = self._bell = anyio.Event()
            self._waiting = True
            look = partial(self._backend.page, self._target, self._next, limit)
            page = await self._patiently(look, math.inf)
            found, after = page.found, page.next
            if self._end is not None:
                found = [event for event in found if event.at(self._target) < self._end]
                after = min(after, self._end)
            if not found:
                # Also where nothing is wanted, all of it has been looked at.
                moved, self._next = after > self._next, after
                if moved:
                    return []
                await bell.wait()
                continue
            self._waiting = False
            records, bad = decoded(found, self._target, self._decode)
            if bad and self.reject is None:
                before, record, error = bad[0]
                assert record.position is not None
                # What stands before it goes out now; the next read begins with it and raises.
                self._next = record.position
                if not before:
                    raise error
                return records[:before]
            for _, record, error in bad:
                if self.reject is not None:
                    self.reject(record, error)
            self._next = after
            return records

    async def _patiently(self, call: Callable[[], Awaitable[R]], seconds: float) -> R:
        """Call again, later and later, while the store's server is gone: it was there when this was opened."""
        until = anyio.current_time() + seconds
        delay = _FIRST
        while True:
            try:
                result = await call()
            except StoreUnreachable as error:
                if anyio.current_time() + delay > until:
                    raise
                if delay == _FIRST:
                    log.warning("%s: waiting for the store: %s", self.name, error)
                await anyio.sleep(delay)
                delay = min(2 * delay, _LAST)
            else:
                if delay > _FIRST:
                    log.info("%s: the store is there again", self.name)
                return result

    def _ring(self) -> None:
        if self._waiting and self._post is not None:
            self._waiting = False
            self._post(self._wake)

    def _wake(self) -> None:
        if self._bell is not None:
            self._bell.set()

    def position(self) -> int | None:
        return self._next

    async def seek(self, position: int) -> None:
        if position < 0:
            raise ArgumentError(f"seek({position}): positions begin at 0")
        self._next = position

    async def commit(self, position: int) -> None:
        """Save the group's position durably. Without a group there is nothing to save."""
        group = self._group
        if group is not None:
            await self._patiently(lambda: self._backend.commit(self._target, group, position), _COMMIT)

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            try:
                if self._listening:
                    await self._backend.ignore(self._target, self._ring)
            finally:
                self._listening = False
                await self._backend.close()
