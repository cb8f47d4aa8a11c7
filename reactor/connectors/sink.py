"""Writing to a topic of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.log import Log
from reactor.core import Sink

T_contra = TypeVar("T_contra", contravariant=True)


class LogSink(Sink[T_contra]):
    """Appends each write as one transaction: all of its events are stored, or none.

    ``write`` returns once they are durable, so ``flush`` has nothing left to do and a write that failed
    may be tried again. Raises ArgumentError for an event that the topic doesn't take, before anything
    is stored; TopicFull, TopicLocked, TopicCorrupt, TopicError.
    """

    def __init__(self, log: Log, codec: Codec, *, key: Key, headers: Headers, time: Time, id: Id) -> None:
        self.name = log.topic
        self._log = log
        self._codec = codec
        self._columns = (key, headers, time, id)
        self._opened = False

    async def open(self) -> None:
        await self._log.open()
        self._opened = True

    async def write(self, events: Sequence[T_contra]) -> None:
        # Encoded here, not on the writer's thread: the caller may change its objects after this call.
        entries = self._codec.entries(events, *self._columns)
        if entries:
            await self._log.append(entries)

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self._log.close()
