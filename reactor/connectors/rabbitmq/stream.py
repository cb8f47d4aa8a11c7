"""Reading a stream: a log, whose positions are its offsets."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import msgspec

from reactor.connectors.brokers import Consumer, Delivery, Wire
from reactor.connectors.log import From
from reactor.connectors.rabbitmq.ends import OFFSET, Spec, beginning, is_mark, last, nobody, publish
from reactor.connectors.rabbitmq.errors import FAILURES, Lost
from reactor.connectors.rabbitmq.frames import acknowledging
from reactor.connectors.rabbitmq.link import Channel, Link
from reactor.connectors.rabbitmq.reading import UNREADABLE, now, read, unreadable
from reactor.core import TopicCorrupt, TopicError

if TYPE_CHECKING:
    from reactor.connectors.rabbitmq.broker import RabbitMQBroker

_POSITION = "reactor.position"
_ONLY = ""
"""A stream has one partition."""

Came = tuple[int, int, Any, bytes]
"""The delivery's tag, the message's offset, properties, body."""


class RabbitMQStreamConsumer(Consumer):
    """Reads a topic's stream for one group, whose position stands in a stream of its own (``positions``).

    To the server an acknowledgement is nothing but room for more, so each message is acknowledged when it has been
    returned: ``prefetch`` bounds what is read ahead, and what is in flight for hours closes no channel.
    """

    positional = True

    def __init__(self, broker: RabbitMQBroker, positions: str | None, start: From, *, follow: bool) -> None:
        self._broker = broker
        self._stream = broker.topic
        self._positions = positions
        self._start = start
        self._follow = follow
        self._ahead = broker.settings.prefetch
        self._link = Link(broker.server, self._prepare, self._wake)
        self._wire = Wire(broker.topic, "amqp")
        self._next: int | None = None
        """The offset of what is returned next; None: not found out yet."""
        self._end: int | None = None
        """Where it ends, without ``follow``."""
        self._saved = -1
        """The group's position, as far as is known."""
        self._begun: dict[str, int] = {}
        """Where it began first, without a group and not at the beginning."""
        self._reading = False
        """Whether the server has been told to deliver, by this connection or the one that comes."""
        self._came: deque[Came] = deque()
        self._returned = 0
        """The tag of the last one that was returned, where that isn't acknowledged."""
        self._arrived = anyio.Event()
        self._unreadable: TopicError | None = None
        """Raised by the next connection."""

    async def open(self) -> None:
        self._unreadable = None
        self._next = self._end = None
        self._saved = -1
        self._reading = False
        await self._link.open()

    async def _prepare(self, channel: Channel) -> None:
        if self._unreadable is not None:
            raise self._unreadable
        try:
            await self._declare(channel)
        except UNREADABLE as error:
            raise unreadable(self._broker.url, self._stream, error) from error

    async def _declare(self, channel: Channel) -> None:
        broker = self._broker
        self._came.clear()
        self._returned = 0
        await broker.declare_topic(channel)
        await broker.declare_stream(channel)
        if self._positions is not None:
            await broker.declare_positions(channel, self._positions)
        if self._next is None:
            self._next = await self._begin(channel)
        if self._end is None and not self._follow:
            self._end = (await last(channel, self._stream, self._ahead)).end
        if self._reading:
            await self._deliveries(channel)

    async def _begin(self, channel: Channel) -> int:
        """Return where to begin; a group that is new is known from now on."""
        if self._positions is not None:
            data = (await last(channel, self._positions, self._ahead)).data
            if data is not None:
                try:
                    self._saved = msgspec.json.decode(data, type=int)
                except msgspec.MsgspecError as error:
                    raise TopicCorrupt(
                        f"{self._broker.url}: {self._positions} holds no position: {error}"
                    ) from error
                return self._saved
        start = self._start
        if start == "latest":
            found = (await last(channel, self._stream, self._ahead)).end
        else:
            spec: Spec = "first" if start == "earliest" else start
            found = await beginning(channel, self._stream, spec)
        if self._positions is not None:
            await publish(channel, self._positions, b"%d" % found, _POSITION)
            self._saved = found
        elif start != "earliest":
            self._begun.setdefault(_ONLY, found)
        return found

    async def _deliveries(self, channel: Channel) -> None:
        """Let the server deliver from the next one on."""
        assert self._next is not None
        await self._check(channel)
        await channel.basic_qos(prefetch_count=self._ahead)
        channel.deliver = self._deliver
        await channel.basic_consume(self._stream, nobody, arguments={OFFSET: self._next})

    async def _check(self, channel: Channel) -> None:
        """A position behind the end would wait for what others are to write: the stream was made anew."""
        assert self._next is not None
        if self._next == 0:
            return
        end = (await last(channel, self._stream, self._ahead)).end
        if self._next > end:
            if self._broker.settings.gap == "fail":
                raise self._gone(f"it ends at {end}: it was deleted and made again")
            self._next = 0

    def _gone(self, why: str) -> TopicError:
        return TopicError(
            f"{self._broker.url}: position {self._next} isn't kept, {why}; gap=earliest goes on with what is left"
        )

    def _deliver(self, tag: int, again: bool, properties: Any, body: bytes) -> None:
        self._came.append((tag, properties.headers[OFFSET], properties, body))
        if len(self._came) == 1:
            self._arrived.set()

    def _wake(self) -> None:
        if isinstance(reason := self._link.reason, UNREADABLE):
            self._unreadable = unreadable(self._broker.url, self._stream, reason)
        self._arrived.set()

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        link = self._link
        while True:
            assert self._next is not None
            if self._end is not None and self._next >= self._end:
                return None
            if not link.up:
                await link.again()
            elif not self._reading:
                await self._read()
            elif self._came:
                if found := self._taken(limit):
                    return found
            else:
                # Nobody else runs between this and the look whether something came.
                self._arrived = anyio.Event()
                if self._returned:
                    await self._acknowledge()
                    continue
                await self._arrived.wait()

    async def _read(self) -> None:
        try:
            channel = self._link.channel
            self._reading = True
            await self._link.call(self._deliveries(channel))
        except (*FAILURES, *UNREADABLE):
            await self._broken()

    async def _acknowledge(self) -> None:
        try:
            await self._link.room()
        except Lost:
            return
        self._link.put(acknowledging([(self._returned, True)]))
        self._returned = 0

    def _taken(self, limit: int) -> list[Delivery]:
        """Return what came; nothing is awaited here, so nothing of it is lost by a cancellation."""
        assert self._next is not None
        found: list[Delivery] = []
        came = self._came
        while came and len(found) < limit and (self._end is None or self._next < self._end):
            tag, offset, properties, body = came[0]
            if offset > self._next and self._broker.settings.gap == "fail":
                if found:
                    break  # they go out first
                raise self._gone(f"the oldest one is {offset}")
            came.popleft()
            self._returned = tag
            if offset < self._next:
                continue  # of the same chunk
            self._next = offset + 1
            if is_mark(properties):
                continue
            _, type, key, headers, time, data = read(self._wire, properties, body)
            time = now() if time is None else time
            place = f"{self._stream}@{offset}"
            found.append(Delivery(place, type, key, headers, time, data, (_ONLY, offset + 1)))
        if self._returned and self._link.idle:
            self._link.put(acknowledging([(self._returned, True)]))
            self._returned = 0
        return found

    async def settle(self, tokens: Sequence[Any]) -> None:
        if self._positions is None or not tokens:
            return
        position = max(after for _, after in tokens)
        while position > self._saved:
            link = self._link
            if not link.up:
                await link.again()
                continue
            try:
                await link.call(publish(link.channel, self._positions, b"%d" % position, _POSITION))
            except (*FAILURES, *UNREADABLE):
                await self._broken()
            else:
                self._saved = position

    async def seek(self, positions: Mapping[str, int]) -> None:
        position = {**self._begun, **positions}.get(_ONLY)
        if position is None:
            return
        self._next = position
        if self._reading:
            await self._link.drop()  # what is on its way is of another place
        try:
            await self._link.call(self._check(self._link.channel))
        except (*FAILURES, *UNREADABLE):
            await self._broken()  # it is checked again, with the next connection

    def begun(self) -> Mapping[str, int]:
        return dict(self._begun)

    async def _broken(self) -> None:
        """After a failure: the connection is dropped, where it isn't gone by itself."""
        if self._link.up:
            await self._link.drop()

    async def close(self) -> None:
        await self._link.drop()
        self._came.clear()
