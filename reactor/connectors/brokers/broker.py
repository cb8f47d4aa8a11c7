"""A topic at a broker: what ``topic(...)`` makes sources and sinks of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import anyio

from reactor.connectors.brokers.address import Address
from reactor.connectors.brokers.consumer import Consumer, Delivery
from reactor.connectors.brokers.producer import Producer
from reactor.connectors.brokers.sink import BrokerSink
from reactor.connectors.brokers.source import BrokerSource
from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.log import DecodePlaced, Entry, From, Log
from reactor.core import Sink, Source, TopicError


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do; the conformance suite demands what is declared, and that the rest is refused."""

    fanout: bool = True
    """Each group gets all events."""
    retains: bool = True
    """A new group with start="earliest" gets what was published before it."""
    ends: bool = True
    """With follow=False a stream ends at the topic's end as of opening."""
    ordered: Literal["topic", "key", "none"] = "topic"
    """Events come in the order published: all of a topic, those of the same key, or in none."""
    shared: bool = True
    """The readers of a group share its events."""
    replay: bool = True
    """A group can start at a time (start=datetime)."""
    headers: bool = True
    transactional: bool = False
    """Its sink can be exactly once."""
    largest: int | None = None
    """Bytes of the largest message; None: no limit of its own, or the server's."""
    deduplicates: bool = False
    """An event whose id is there already isn't stored again (within some time, at most)."""
    looks: bool = False
    """What waits in a queue can be looked at, and stays there: dead letters can be listed though it is no log."""


class Broker(Log):
    """One topic at one broker. Subclass it and give ``consumer`` and ``producer``."""

    capabilities: ClassVar[Capabilities]

    config: Any = None
    """The settings that were given beside the URL; None for none."""

    def beside(self, name: str) -> Broker:
        """Return another topic at the same place, with the same settings."""
        other = self.at(self.address.beside(name).whole, self.config)
        other.config = self.config
        return other

    def keeping(self) -> Broker:
        """Return this topic as one that keeps what is published before anybody reads it: for dead letters."""
        return self

    def there(self) -> Broker:
        """Return this topic as one that others have made: nothing is made that keeps what is published."""
        return self

    def part(self, name: str) -> str:
        """Return the name of a topic beside this one that belongs to it."""
        return f"{self.topic}.{name}"

    async def look(
        self, *, make: bool = True, over: Callable[[Delivery], bool] | None = None
    ) -> Sequence[Delivery]:
        """Return all that waits in a ``keeping`` topic, in any order, and leave it there; where it ``looks``.

        What is ``over`` is settled, and not returned. What somebody else has in flight isn't seen. Without
        ``make`` a queue that is missing is a TopicError.
        """
        raise self.unable("look()", "subscribe a group")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.url = str(address)
        self.topic = address.path
        self.identity = f"{address.scheme}://{address.servers}/{address.path}"
        self._users = 0
        self._opened: Producer | None = None
        self._lock: anyio.Lock | None = None

    @classmethod
    def at(cls, url: str, config: Any) -> Broker:
        """Return the topic at a URL, with settings of its own kind (None: the defaults)."""
        raise NotImplementedError(f"{cls.__name__}.at")

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        """Return a new consumer for the group; None: one of its own, that nobody remembers."""
        raise NotImplementedError(f"{type(self).__name__}.consumer")

    def producer(self) -> Producer:
        """Return a new producer."""
        raise NotImplementedError(f"{type(self).__name__}.producer")

    def source(
        self,
        decode: DecodePlaced,
        *,
        group: str | None,
        start: From,
        follow: bool,
        kind: str = "",
    ) -> Source[Any]:
        """Return a source; ``kind`` is the type of messages that don't tell theirs."""
        consumer = self.consumer(group, start=start, follow=follow)
        identity = None if group is None else f"{self.identity}#{group}"
        return BrokerSource(consumer, decode, name=self.topic, identity=identity, kind=kind)

    def sink(self, codec: Codec, *, key: Key, headers: Headers, time: Time, id: Id) -> Sink[Any]:
        return BrokerSink(self.producer(), codec, name=self.topic, key=key, headers=headers, time=time, id=id)

    async def open(self) -> None:
        self._users += 1
        self._lock = self._lock or anyio.Lock()

    async def close(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._lock = None
            if self._opened is not None:
                producer, self._opened = self._opened, None
                await producer.close()

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Send them, and return once they are confirmed. No positions: these are the broker's."""
        assert self._lock is not None
        async with self._lock:
            if self._opened is None:
                producer = self.producer()
                try:
                    await producer.open()
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await producer.close()
                    raise
                self._opened = producer
            await self._opened.send(entries)
            await self._opened.flush()
        return []

    def unable(self, what: str, fix: str) -> TopicError:
        """Return the error of something that this broker can't do."""
        return TopicError(f"{self.url}: {what} can't be had of {self.address.scheme}; {fix}")

    async def length(self) -> int:
        raise self.unable("length()", "count what a pipeline reads, or ask the broker's own tools")

    async def groups(self) -> dict[str, int]:
        raise self.unable("groups() with positions", "ask the broker's own tools")

    async def reset(self, group: str, position: int) -> None:
        raise self.unable("reset() to a number", "subscribe another group, with start=")
