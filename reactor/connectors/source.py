"""Reading a topic of a log: as a group with a saved position, or from a position of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import anyio
import anyio.lowlevel

from reactor.connectors.log import Decode, Log, Start
from reactor.connectors.loops import Post, poster
from reactor.core import ArgumentError, Record, Source, TopicCorrupt, UsedTwice
from reactor.registry import UnknownWriter

T_co = TypeVar("T_co", covariant=True)


class LogSource(Source[T_co]):
    """The records of one topic, in order. A read takes what is there, and waits only for the first one."""

    seekable = True

    def __init__(
        self,
        log: Log,
        decode: Decode,
        *,
        group: str | None,
        start: Start,
        follow: bool,
        poll: float,
    ) -> None:
        self.name = log.topic
        self.replay = (
            group is not None
        )  # without a group nothing is saved: the next run begins at start again
        self.identity = None if group is None else f"{log.identity}#{group}"
        self.skipped = 0
        """How many records were of a known type that nobody asked for."""
        self._log = log
        self._decode = decode
        self._group = group
        self._start: Start = start
        self._follow = follow
        self._poll = poll
        self._next = 0
        self._end: int | None = None
        self._opened = False
        self._listening = False
        self._waiting = False
        self._bell: anyio.Event | None = None
        self._post: Post | None = None

    async def open(self) -> None:
        """Go to the group's position; without ``follow``, the log's end as of now is the end."""
        if self._opened:
            raise UsedTwice(f"{self.name}: this source is open already; make another one for another run")
        self._post = poster()
        await self._log.open()
        self._opened = True
        self._end, self.skipped = None, 0
        if self._group is not None:
            self._next = await self._log.join(self._group, self._start)
        elif self._start == "latest":
            self._next = await self._log.length()
        else:
            self._next = self._start if isinstance(self._start, int) else 0
        if self._follow:
            self._listening = True
            await self._log.listen(self._ring, self._poll)
        else:
            self._end = await self._log.length()

    async def read(self, limit: int) -> Sequence[Record[T_co]] | None:
        """Return up to ``limit`` records, none where all that it saw was passed over; None at the end.

        Nothing is consumed until it returns. Raises DecodeError for a record that doesn't fit, again and
        again, unless ``reject`` takes it.
        """
        if limit < 1:
            raise ArgumentError(f"read(limit={limit}): must be >= 1")
        while True:
            if self._end is not None:
                if self._next >= self._end:
                    await anyio.lowlevel.checkpoint()
                    return None
                limit = min(limit, self._end - self._next)
            # The bell stands before the look: what is appended after the look rings it.
            bell = self._bell = anyio.Event()
            self._waiting = True
            try:
                batch = await self._log.fetch(self._next, limit, self._decode)
            except UnknownWriter as lacking:
                await lacking.learn()
                continue
            if batch is None:
                if self._end is not None:
                    return None
                await bell.wait()
                continue
            self._waiting = False
            records = batch.records
            if batch.bad:
                if self.reject is None:
                    first = batch.bad[0]
                    position = first.record.position
                    assert position is not None
                    # What stands before it goes out now; the next read begins with it and raises.
                    self._next = position
                    self.skipped += first.skipped
                    if not first.before:
                        raise first.error
                    return records[: first.before]
                for bad in batch.bad:
                    self.reject(bad.record, bad.error)
            self._next = batch.next
            self.skipped += batch.skipped
            return records

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
        end = await self._log.length()
        if position > end:
            raise TopicCorrupt(
                f"{self._log.url}: ends at {end}, but a checkpoint has read up to {position}: events are lost; "
                "restore the file from a backup, or begin anew (python -m reactor checkpoints reset)"
            )
        self._next = position

    async def commit(self, position: int) -> None:
        """Save the group's position durably. A source without a group has nothing to save."""
        if self._group is not None:
            await self._log.commit(self._group, position)

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            try:
                if self._listening:
                    await self._log.ignore(self._ring)
            finally:
                await self._log.close()
