"""Writing to a broker: by chunks, confirmed before a barrier passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from reactor.connectors.brokers.producer import Producer
from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.encoding import encoded
from reactor.core import Sink

T_contra = TypeVar("T_contra", contravariant=True)


class BrokerSink(Sink[T_contra]):
    """Sends events to a topic at a broker; ``flush`` returns once all of them are confirmed.

    Raises Refused, which names the events that can't be encoded or that the broker doesn't take, and TopicError.
    """

    def __init__(
        self,
        producer: Producer,
        codec: Codec,
        *,
        name: str,
        key: Key = None,
        headers: Headers = None,
        time: Time = None,
        id: Id = None,
    ) -> None:
        self.name = name
        self._producer = producer
        self._codec = codec
        self._columns = (key, headers, time, id)
        self._opened = False

    async def open(self) -> None:
        await self._codec.open()
        self._opened = True
        await self._producer.open()

    async def write(self, events: Sequence[T_contra]) -> None:
        entries = encoded(events, lambda some: self._codec.entries(some, *self._columns))
        if entries:
            await self._producer.send(entries)

    async def flush(self) -> None:
        await self._producer.flush()

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self._producer.close()
