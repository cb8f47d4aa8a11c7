"""Writing to an exchange: many messages on their way at once, each of them confirmed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from reactor.connectors.brokers import Backoff, Producer, Wire
from reactor.connectors.log import Entry
from reactor.connectors.rabbitmq.errors import Lost, largest_of, told
from reactor.connectors.rabbitmq.frames import Publishing
from reactor.connectors.rabbitmq.link import Channel, Link
from reactor.core import Refused, TopicError

if TYPE_CHECKING:
    from reactor.connectors.rabbitmq.broker import RabbitMQBroker

log = logging.getLogger("reactor")

_BYTES = 16 * 1024 * 1024
"""How many bytes of messages that aren't confirmed are kept, at most; and one message more."""
_AT_ONCE, _PIECE = 64, 256 * 1024
"""How many messages, and how many bytes of them, are given to the socket as one."""


class QueueFull(Exception):
    """What the log says of it."""


class Message(NamedTuple):
    number: int
    id: str
    frames: bytes
    size: int
    """Of its data."""


class _Receipt:
    """What the channel tells of a confirmation; it takes this for a future."""

    __slots__ = ("_producer", "_tag")

    def __init__(self, producer: RabbitMQProducer, tag: int) -> None:
        self._producer = producer
        self._tag = tag

    def done(self) -> bool:
        return False

    def set_result(self, frame: Any) -> None:
        self._producer.confirmed(self, self._tag)

    def set_exception(self, error: BaseException) -> None:
        self._producer.refused(self, self._tag)


class RabbitMQProducer(Producer):
    """Publishes to the topic's exchange. What isn't confirmed is kept, and sent again after a loss."""

    def __init__(self, broker: RabbitMQBroker) -> None:
        self._broker = broker
        self._what = broker.server.what
        self._wire = Wire(broker.topic, "amqp")
        self._link = Link(broker.server, self._prepare, self._wake)
        self._largest = broker.settings.largest
        self._numbers = itertools.count()
        self._publishing: Publishing | None = None
        self._tag = 0
        self._ids: dict[str, int] = {}
        """By message id the tag, for the channel: a message that comes back has no tag."""
        self._sent: dict[int, tuple[Message, _Receipt]] = {}
        """By tag what isn't confirmed."""
        self._again: list[Message] = []
        """What the server couldn't take, and what a lost connection has left."""
        self._full = Backoff(f"{self._what}: a queue")
        self._refusals = 0
        self._bytes = 0
        self._moved = anyio.Event()
        self._unrouted = 0

    async def open(self) -> None:
        await self._link.open()

    async def _prepare(self, channel: Channel) -> None:
        broker = self._broker
        await broker.declare_topic(channel)
        if broker.stream:
            await broker.declare_stream(channel)
        for group in broker.early:
            await broker.declare_queue(channel, broker.queue_of(group))
        channel.on_return_callbacks.add(self._returned)
        self._tag, self._ids = 0, channel.message_id_delivery_tag
        left = [message for message, _ in self._sent.values()]
        self._sent.clear()
        self._again = sorted([*self._again, *left])
        self._publishing = Publishing(broker.topic, "application/json", self._link.frame_max)

    def _wake(self) -> None:
        self._moved.set()

    # What the channel calls ---------------------------------------------------------------------------------

    def confirmed(self, receipt: _Receipt, tag: int) -> None:
        """The server has it."""
        found = self._sent.get(tag)
        if found is not None and found[1] is receipt:
            del self._sent[tag]
            message = found[0]
            self._ids.pop(message.id, None)
            self._bytes -= len(message.frames)
            self._moved.set()

    def refused(self, receipt: _Receipt, tag: int) -> None:
        """A queue is full, or the server failed: it has to be sent again."""
        found = self._sent.get(tag)
        if found is not None and found[1] is receipt:
            del self._sent[tag]
            self._again.append(found[0])
            self._refusals += 1
            self._moved.set()

    def _returned(self, message: Any) -> None:
        self._unrouted += 1
        if self._unrouted == 1:
            log.warning(
                "%s: what is published goes nowhere, as no group has subscribed yet; name them in groups=",
                self._what,
            )

    # Sending ------------------------------------------------------------------------------------------------

    async def send(self, entries: Sequence[Entry]) -> None:
        messages = self._messages(entries)
        most = self._broker.settings.unconfirmed
        at = 0
        while at < len(messages):
            await self._until(lambda: len(self._sent) < most and self._bytes < _BYTES)
            piece = _piece(messages, at, min(most - len(self._sent), _AT_ONCE))
            if await self._publish(piece):
                at += len(piece)
                self._bytes += sum(len(message.frames) for message in piece)

    async def _publish(self, messages: list[Message]) -> bool:
        """Send some; False where the connection was lost before."""
        try:
            channel = await self._link.room()
        except Lost:
            return False
        # Nothing is awaited from here on: the server counts the messages of a channel, and so do we.
        confirmations: Any = channel.confirmations
        for message in messages:
            self._tag += 1
            receipt = _Receipt(self, self._tag)
            self._sent[self._tag] = (message, receipt)
            confirmations[self._tag] = receipt
            self._ids[message.id] = self._tag
        self._link.put(b"".join(message.frames for message in messages))
        return True

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; meanwhile connect again and send again what has to be."""
        while True:
            if not self._link.up:
                self._too_large()
                await self._link.again()
            elif self._again:
                await self._resend()
            elif condition():
                return
            else:
                self._moved = anyio.Event()
                await self._moved.wait()

    async def _resend(self) -> None:
        if self._refusals:
            await self._full.failed(QueueFull(f"{self._refusals} messages weren't taken"))
            self._refusals = 0
        piece = _piece(sorted(self._again), 0, _AT_ONCE)
        if await self._publish(piece):
            again = {message.number for message in piece}
            self._again = [message for message in self._again if message.number not in again]

    def _too_large(self) -> None:
        """Raise where the connection was lost as a message is too large for the server; such aren't sent again."""
        reason = self._link.reason
        left = [*(message for message, _ in self._sent.values()), *self._again]
        if (
            reason is None
            or (limit := largest_of(reason, max((one.size for one in left), default=1))) is None
        ):
            return
        self._largest = min(self._largest, limit)
        self._sent.clear()
        self._again = [message for message in left if message.size <= limit]
        self._bytes = sum(len(message.frames) for message in self._again)
        self._link.reason = None
        raise TopicError(
            f"{self._what}: {told(reason)}; with largest={limit} such messages are refused one by one"
        ) from reason

    def _messages(self, entries: Sequence[Entry]) -> list[Message]:
        largest = self._largest
        wire, publishing = self._wire, self._publishing
        assert publishing is not None
        found: list[Message] = []
        errors: dict[int, Exception] = {}
        for at, entry in enumerate(entries):
            data = entry[5]
            if len(data) > largest:
                errors[at] = TopicError(
                    f"{self._what}: a message of {len(data)} bytes; largest={largest} is the limit here"
                )
                continue
            id = wire.id_of(entry)
            headers = wire.headers(entry, id=id)
            del headers["content-type"]
            try:
                frames = publishing.frames(id, headers, entry[4], data)
            except ValueError as error:
                errors[at] = TopicError(f"{self._what}: a message can't be sent: {error}")
                continue
            found.append(Message(next(self._numbers), id, frames, len(data)))
        if errors:
            raise Refused(errors)
        return found

    async def flush(self) -> None:
        await self._until(lambda: not self._sent)
        self._full.reached()

    async def close(self) -> None:
        await self._link.drop()
        self._sent.clear()
        self._again.clear()
        self._bytes = 0


def _piece(messages: list[Message], at: int, most: int) -> list[Message]:
    """Return what is sent at once: one message, and more while they are small."""
    found, size = messages[at : at + 1], len(messages[at].frames)
    for message in messages[at + 1 : at + most]:
        size += len(message.frames)
        if size > _PIECE:
            break
        found.append(message)
    return found
