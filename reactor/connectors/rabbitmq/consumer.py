"""Reading a queue: what isn't settled stays in it, and comes again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from reactor.connectors.brokers import Consumer, Delivery, Wire
from reactor.connectors.rabbitmq.errors import FAILURES
from reactor.connectors.rabbitmq.frames import acknowledging
from reactor.connectors.rabbitmq.link import Channel, Link
from reactor.connectors.rabbitmq.reading import UNREADABLE, named, now, read, unreadable

if TYPE_CHECKING:
    from reactor.connectors.rabbitmq.broker import RabbitMQBroker
    from reactor.core import TopicError

Token = tuple[int, int, str]
"""The generation of the connection, the delivery's tag, the message's name."""

_LOOK = 0.2
"""Seconds between two looks whether a queue is empty, of a reader that doesn't follow."""


class RabbitMQConsumer(Consumer):
    """Reads one queue, made where it is missing; an ``own`` one goes when it is closed and all of it is settled.

    Without ``follow`` it ends behind as many messages as waited when it was opened, and what it had returned and
    comes again, or where the queue is empty.
    """

    def __init__(self, broker: RabbitMQBroker, queue: str, *, own: bool, follow: bool) -> None:
        self.prefetch = broker.settings.prefetch
        self._broker = broker
        self._queue = queue
        self._own = own
        self._left: int | None = None if follow else 0
        """How many messages it still returns."""
        self._link = Link(broker.server, self._prepare, self._wake)
        self._wire = Wire(broker.topic, "amqp")
        self._came: deque[tuple[int, bool, Any, bytes]] = deque()
        """Received and not returned yet: of this generation."""
        self._order: deque[int] = deque()
        """The tags of this generation; at its front stands one that isn't acknowledged."""
        self._open: set[int] = set()
        """Those of them that aren't acknowledged."""
        self._twice: list[int] = []
        """What has to be acknowledged, as it was handled already."""
        self._out: dict[str, str] = {}
        """What was returned in this generation, and isn't settled: the ids, by name."""
        self._ids: set[str] = set()
        """The same ids."""
        self._settled: dict[str, None] = {}
        """The last names that were settled: after a crash the server may not know."""
        self._remembered = max(2 * self.prefetch, 10_000)
        self._tag = ""
        """What the server knows this reader by."""
        self._arrived = anyio.Event()
        self._unreadable: TopicError | None = None
        """Raised by the next connection."""

    async def open(self) -> None:
        self._unreadable = None
        await self._link.open()

    async def _prepare(self, channel: Channel) -> None:
        if self._unreadable is not None:
            raise self._unreadable
        try:
            await self._begin(channel)
        except UNREADABLE as error:
            raise unreadable(self._broker.url, self._queue, error) from error

    async def _begin(self, channel: Channel) -> None:
        self._came.clear()
        self._order.clear()
        self._open.clear()
        self._twice.clear()
        if self._left is not None:
            self._left += len(self._out)  # they come again
        self._out.clear()
        self._ids.clear()
        await self._broker.declare_topic(channel)
        waiting = await self._broker.declare_queue(channel, self._queue, own=self._own)
        if self._left is not None:
            self._left = max(self._left, waiting)
        await channel.basic_qos(prefetch_count=self.prefetch)
        channel.deliver = self._deliver
        self._tag = (await channel.basic_consume(self._queue, _nobody)).consumer_tag or ""

    def _deliver(self, tag: int, again: bool, properties: Any, body: bytes) -> None:
        self._order.append(tag)
        self._open.add(tag)
        self._came.append((tag, again, properties, body))
        if len(self._came) == 1:
            self._arrived.set()

    def _wake(self) -> None:
        if isinstance(reason := self._link.reason, UNREADABLE):
            self._unreadable = unreadable(self._broker.url, self._queue, reason)
        self._arrived.set()

    async def _again(self) -> None:
        if await self._link.again():
            self.lost()

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        while True:
            if self._left == 0:
                return None
            if self._came and self._link.up:
                if found := self._taken(limit if self._left is None else min(limit, self._left)):
                    return found
            elif not self._link.up:
                await self._again()
            else:
                self._arrived = anyio.Event()
                with anyio.move_on_after(None if self._left is None else _LOOK) as looking:
                    await self._arrived.wait()
                if looking.cancelled_caught and await self._empty():
                    self._left = 0

    def _taken(self, limit: int) -> list[Delivery]:
        """Return what came; nothing is awaited here, so nothing of it is lost by a cancellation."""
        generation = self._link.generation
        found: list[Delivery] = []
        twice: list[int] = []
        came, out, ids, settled = self._came, self._out, self._ids, self._settled
        while came and len(found) < limit:
            tag, again, properties, body = came.popleft()
            message = read(self._wire, properties, body)
            id, type, key, headers, time, data = message
            if id is None:
                id = name = f"{self._queue}-{generation}-{tag}"
            else:
                name = named(message)
                # In flight already: the publisher has sent it again, and it is settled with the first one.
                if name in out or (again and name in settled):
                    twice.append(tag)
                    continue
                if id in ids:
                    id = name
            out[name] = id
            ids.add(id)
            time = now() if time is None else time
            found.append(Delivery(id, type, key, headers, time, data, (generation, tag, name)))
        if self._left is not None:
            self._left -= len(found)
        if twice and self._link.idle:
            self._link.put(acknowledging(self._acknowledged(twice)))
        else:
            self._twice += twice
        return found

    def named(self, delivery: Delivery) -> str:
        name: str = delivery.token[2]
        return name

    async def _empty(self) -> bool:
        if self._came:
            return False
        try:
            declared = await self._link.call(self._link.channel.queue_declare(self._queue, passive=True))
            if declared.message_count:
                return False
            # The answer may come before what is on its way already; the one to this comes behind that.
            await self._link.call(self._link.channel.basic_qos(prefetch_count=self.prefetch))
        except (*FAILURES, *UNREADABLE):
            return False
        return not self._came

    async def settle(self, tokens: Sequence[Any]) -> None:
        link = self._link
        generation = link.generation
        mine: list[Token] = [token for token in tokens if token[0] == generation]
        if link.up and mine:
            try:
                channel = await link.room()
                twice, self._twice = self._twice, []
                link.put(acknowledging(self._acknowledged([*twice, *(tag for _, tag, _ in mine)])))
                # The server answers this behind them.
                await link.call(channel.basic_qos(prefetch_count=self.prefetch))
            except (*FAILURES, *UNREADABLE):
                await self._broken()
            else:
                if link.generation == generation:
                    for _, _, name in mine:
                        self._ids.discard(self._out.pop(name, ""))
                        self._settled[name] = None
                    while len(self._settled) > self._remembered:
                        del self._settled[next(iter(self._settled))]
        if not link.up:
            await self._again()

    async def _broken(self) -> None:
        """After a failure: the connection is dropped, where it isn't gone by itself."""
        if self._link.up:
            await self._link.drop()

    def _acknowledged(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Return what has to be acknowledged: all up to a tag as one, the others alone."""
        order, open = self._order, self._open
        handled = {tag for tag in tags if tag in open}
        open -= handled
        last, count = 0, 0
        while order and order[0] not in open:
            tag = order.popleft()
            if tag in handled:  # the server refuses one that was acknowledged already
                handled.discard(tag)
                last, count = tag, count + 1
        found = [(last, count > 1)] if count else []
        return found + [(tag, False) for tag in sorted(handled)]

    async def close(self) -> None:
        if self._own and self._link.up:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                try:
                    await self._delete()
                except (*FAILURES, *UNREADABLE):
                    pass  # it expires
        await self._link.drop()
        self._came.clear()

    async def _delete(self) -> None:
        """Delete the own queue, unless there is something in it: it may be opened again."""
        channel = self._link.channel
        await channel.basic_cancel(self._tag)  # nothing is delivered behind the answer
        if not self._open:
            await channel.queue_delete(self._queue, if_empty=True)


async def _nobody(message: Any) -> None:
    """The channel hands deliveries over itself."""
