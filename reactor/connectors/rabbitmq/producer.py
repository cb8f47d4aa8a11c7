"""Writing to an exchange: many messages on their way at once, each of them confirmed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from reactor.connectors.brokers import Backoff, Producer, Wire
from reactor.connectors.log import Entry
from reactor.connectors.rabbitmq.errors import (
    ConnectionLost,
    Lost,
    Unrouted,
    is_denial,
    is_missing,
    is_refusal,
    largest_of,
    told,
)
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
_SURE = 128 * 1024
"""The size of messages that any server takes, more or less."""


class QueueFull(Exception):
    """What the log says of it."""


class TooLarge(TopicError):
    """The server has closed the channel, as a message is larger than it takes."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


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
        self._sure = min(_SURE, self._largest)
        """The largest size that the server is known to take."""
        self._numbers = itertools.count()
        self._publishing: Publishing | None = None
        self._tag = 0
        self._sent: dict[int, tuple[Message, _Receipt]] = {}
        """By tag what isn't confirmed."""
        self._again: list[Message] = []
        """What the server couldn't take, and what a lost connection has left."""
        self._full = Backoff(f"{self._what}: a queue")
        self._vain = Backoff(f"{self._what}: what is published")
        self._refusals = 0
        self._bytes = 0
        self._moved = anyio.Event()
        self._keeps = broker.stream or bool(broker.early)
        """Whether there has to be a queue for all that is published."""
        self._missing = False
        """True where the exchange was deleted, and what was sent since isn't confirmed."""
        self._routed = False
        self._returns = 0
        """How many messages came back on this channel."""
        self._warned = self._alarmed = False

    async def open(self) -> None:
        await self._link.open()

    async def _prepare(self, channel: Channel) -> None:
        broker = self._broker
        await broker.declare_topic(channel)
        if broker.stream:
            await broker.declare_stream(channel)
        for group in broker.early:
            await broker.declare_queue(channel, broker.queue_of(group))
        channel.returned = self._returned
        self._routed = self._has_routed()
        self._tag = self._returns = 0
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
            self._bytes -= len(found[0].frames)
            self._moved.set()

    def refused(self, receipt: _Receipt, tag: int) -> None:
        """A queue is full, or the server failed: it has to be sent again."""
        found = self._sent.get(tag)
        if found is not None and found[1] is receipt:
            del self._sent[tag]
            self._again.append(found[0])
            self._refusals += 1
            self._moved.set()

    def _returned(self) -> None:
        """A message has come back, as no queue is bound; the server confirms it next."""
        if self._keeps or self._missing:
            self._again += [message for message, _ in self._sent.values()]
            self._sent.clear()  # so what is confirmed from here on doesn't count
            return self._link.lose(Unrouted("no queue is bound to the exchange any more"))
        if self._has_routed() and not self._alarmed:
            self._alarmed = True
            log.error(
                "%s: what is published goes nowhere any more, as the queues it went to are gone; name their "
                "groups in groups=, which makes them again",
                self._what,
            )
        elif not (self._warned or self._alarmed):
            self._warned = True
            log.warning(
                "%s: what is published goes nowhere, as no group has subscribed yet; name them in groups=",
                self._what,
            )
        self._returns += 1

    def _has_routed(self) -> bool:
        """Whether a queue has taken something: what was answered is more than what came back."""
        return self._routed or self._tag - len(self._sent) > self._returns

    # Sending ------------------------------------------------------------------------------------------------

    async def send(self, entries: Sequence[Entry]) -> None:
        messages, sure = self._messages(entries)
        if sure:
            await self._send(messages)
        else:
            await self._try(messages)

    async def _try(self, messages: list[Message]) -> None:
        """Send some that may be too large for the server: each such one is waited for, so that it can be named."""
        errors: dict[int, Exception] = {}
        for at, message in enumerate(messages):
            if message.size > self._largest:
                errors[at] = self._over(message.size)
                continue
            await self._send([message])
            if message.size > self._sure:
                try:
                    await self._until(lambda: not self._sent)
                    self._sure = message.size
                except TooLarge as error:
                    if not self._forget(message, error.limit):
                        raise
                    errors[at] = error
        if errors:
            await self.flush()
            raise Refused(errors, rest_stored=True)

    def _forget(self, message: Message, limit: int) -> bool:
        """Don't send it again, where it is the only one above the limit."""
        left = [*(each for each, _ in self._sent.values()), *self._again]
        if [each for each in left if each.size > limit] != [message]:
            return False
        self._sent.clear()
        self._again = [each for each in left if each is not message]
        self._bytes -= len(message.frames)
        return True

    async def _send(self, messages: list[Message]) -> None:
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
        self._link.put(b"".join(message.frames for message in messages))
        return True

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; meanwhile connect again and send again what has to be."""
        while True:
            if not self._link.up:
                await self._reconnect()
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

    async def _reconnect(self) -> None:
        """Connect again, after a pause where the last connection brought nothing."""
        reason = self._link.reason
        if reason is not None:
            self._refusal(reason)
            self._missing = self._missing or is_missing(reason)
            if isinstance(reason, Unrouted) or 0 < self._tag == len(self._sent):
                await self._vain.failed(ConnectionLost(told(reason)))
            else:
                self._vain.reached()
        await self._link.again()

    def _refusal(self, reason: BaseException) -> None:
        """Raise where the server doesn't take what is published. That is kept: the next flush tries once more."""
        left = [*(message for message, _ in self._sent.values()), *self._again]
        limit = largest_of(reason, max((one.size for one in left), default=1))
        error: TopicError
        if limit is not None:
            self._largest = min(self._largest, limit)
            self._sure = min(self._sure, limit)
            error = TooLarge(
                f"{self._what}: {told(reason)}; with largest={limit} such messages are refused one by one",
                limit,
            )
        elif is_refusal(reason):
            fix = "give the user the right to write" if is_denial(reason) else "see the server's log"
            error = TopicError(f"{self._what}: the server refuses what is published: {told(reason)}; {fix}")
        elif isinstance(reason, Unrouted) and not self._keeps:
            error = TopicError(
                f"{self._what}: its exchange was deleted, and with it the bindings of its groups' queues; start "
                "their readers again, which binds them"
            )
        else:
            return
        self._link.reason = None
        raise error from reason

    def _over(self, size: int) -> TopicError:
        return TopicError(
            f"{self._what}: a message of {size} bytes; largest={self._largest} is the limit here"
        )

    def _messages(self, entries: Sequence[Entry]) -> tuple[list[Message], bool]:
        """Return the messages, and whether the server is known to take such large ones."""
        largest, sure, small = self._largest, self._sure, True
        wire, publishing = self._wire, self._publishing
        assert publishing is not None
        found: list[Message] = []
        errors: dict[int, Exception] = {}
        for at, entry in enumerate(entries):
            data = entry[5]
            if len(data) > sure:
                small = False
                if len(data) > largest:
                    errors[at] = self._over(len(data))
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
        return found, small

    async def flush(self) -> None:
        await self._until(lambda: not self._sent)
        self._full.reached()
        self._vain.reached()
        self._missing = False

    async def close(self) -> None:
        await self._link.drop()
        self._sent.clear()
        self._again.clear()
        self._bytes = 0
        self._missing = False


def _piece(messages: list[Message], at: int, most: int) -> list[Message]:
    """Return what is sent at once: one message, and more while they are small."""
    found, size = messages[at : at + 1], len(messages[at].frames)
    for message in messages[at + 1 : at + most]:
        size += len(message.frames)
        if size > _PIECE:
            break
        found.append(message)
    return found
