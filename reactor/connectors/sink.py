"""Writing to a topic of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.encoding import encoded
from reactor.connectors.log import Entry, Log
from reactor.connectors.staging import Held
from reactor.core import Sink

T_contra = TypeVar("T_contra", contravariant=True)

HELD = 4096
"""Events of a transaction that are kept in memory; more are staged in the log."""

HELD_BYTES = 1 << 21


class LogSink(Sink[T_contra]):
    """Appends each write as one transaction: all of its events are stored, or none.

    ``write`` returns once they are durable, so ``flush`` has nothing left to do and a write that failed
    may be tried again. Raises Refused, which names the events that the topic doesn't take, before anything
    is stored; TopicFull, TopicLocked, TopicCorrupt, TopicError.

    After ``recover`` events are appended when their number is published, and have their positions from then on.
    """

    def __init__(self, log: Log, codec: Codec, *, key: Key, headers: Headers, time: Time, id: Id) -> None:
        self.name = log.topic
        self.transactional = log.transactional
        self._log = log
        self._codec = codec
        self._columns = (key, headers, time, id)
        self._opened = False
        self._held: Held[Entry] | None = None

    async def open(self) -> None:
        await self._codec.open()
        await self._log.open()
        self._opened = True

    async def write(self, events: Sequence[T_contra]) -> None:
        # Encoded here, not on the writer's thread: the caller may change its objects after this call.
        entries = encoded(events, lambda some: self._codec.entries(some, *self._columns))
        if entries:
            if self._held is None:
                await self._log.append(entries)
            else:
                await self._held.add(entries)

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        staging = await self._log.recover(owner, decided, fence)
        self._held = Held(staging, most=HELD, size=HELD_BYTES, size_of=_size)

    async def prepare(self, number: int) -> None:
        await self._transaction.prepare(number)

    async def publish(self, number: int) -> None:
        await self._transaction.publish(number)

    @property
    def _transaction(self) -> Held[Entry]:
        if self._held is None:
            raise RuntimeError(f"{self.name}: prepare() and publish() come after recover()")
        return self._held

    async def close(self) -> None:
        self._held = None
        if self._opened:
            self._opened = False
            await self._log.close()


def _size(entries: Sequence[Entry]) -> int:
    """Return the bytes of the entries, where they are bytes."""
    return sum(len(entry[5]) for entry in entries if isinstance(entry[5], bytes))
