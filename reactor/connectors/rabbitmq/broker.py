"""A topic at RabbitMQ: its exchange, and its groups' queues."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from reactor.connectors.brokers import Address, Broker, Capabilities, Consumer, Producer, configured
from reactor.connectors.log import From
from reactor.connectors.rabbitmq.consumer import RabbitMQConsumer
from reactor.connectors.rabbitmq.link import Channel, Server
from reactor.connectors.rabbitmq.producer import RabbitMQProducer
from reactor.connectors.rabbitmq.settings import RabbitMQ
from reactor.connectors.rabbitmq.stream import RabbitMQStreamConsumer
from reactor.core import ArgumentError

_PORTS = {"amqp": 5672, "amqps": 5671}
_EXCHANGE, _QUEUE = 127, 255
"""Characters of a name, at most."""

_NAME = re.compile(r"[a-zA-Z0-9-_.:@#,/ ]+")
"""What AMQP lets names be made of."""

_KEPT = 10 * 60 * 1000
"""Milliseconds for which the queue of a reader without a group waits for it to connect again."""


_POSITIONS = 2_000_000
"""Bytes of a group's positions."""

_STREAM = Capabilities(shared=False)


class RabbitMQBroker(Broker):
    """A durable fanout exchange, and bound to it a durable queue for each group, or a stream for all of them."""

    capabilities = Capabilities(retains=False, replay=False, largest=RabbitMQ().largest)

    def __init__(
        self, address: Address, settings: RabbitMQ, vhost: str, topic: str, stream: bool | None = None
    ) -> None:
        super().__init__(address)
        self.topic = topic
        self.settings = settings
        self.stream = settings.queue == "stream" if stream is None else stream
        """Whether a stream keeps what is published."""
        can = _STREAM if self.stream else type(self).capabilities
        self.capabilities = replace(can, largest=settings.largest)  # type: ignore[misc]
        self.vhost = vhost
        self.identity = f"{address.scheme}://{address.servers}/{'' if vhost == '/' else vhost + '/'}{topic}"
        self.server = Server(address, settings, vhost, f"topic {self.url}")
        self.early = tuple(filter(None, (group.strip() for group in settings.groups.split(","))))
        _named(self.url, topic, "a topic", _EXCHANGE)
        for group in self.early:
            self.queue_of(group)

    @classmethod
    def at(cls, url: str, config: Any) -> RabbitMQBroker:
        write = "amqp://USER:PASSWORD@HOST:PORT/TOPIC or .../VHOST/TOPIC"
        address = Address.parse(url, port=_PORTS[url.partition(":")[0]], write=write)
        # An escaped slash belongs to a name.
        parts = [unquote(part) for part in urlsplit(url).path.strip("/").split("/")]
        if len(parts) > 2 or not all(parts):
            raise ArgumentError(f"topic({str(address)!r}): write {write}; %2F for a slash in a name")
        vhost, topic = ("/", *parts)[-2:]
        return cls(address, configured(address, RabbitMQ, config), vhost, topic)

    def beside(self, name: str) -> RabbitMQBroker:
        path = name if self.vhost == "/" else f"{self.vhost}/{name}"
        found = RabbitMQBroker(replace(self.address, path=path), self.settings, self.vhost, name)
        found.config = self.config
        return found

    def keeping(self) -> RabbitMQBroker:
        return self._with(stream=True)

    def there(self) -> RabbitMQBroker:
        return self._with(stream=False)

    def _with(self, *, stream: bool) -> RabbitMQBroker:
        found = RabbitMQBroker(self.address, self.settings, self.vhost, self.topic, stream)
        found.config = self.config
        return found

    def queue_of(self, group: str) -> str:
        """Return the name of the group's queue: its last dot stands before the group, which is escaped."""
        return self._queue_of(group, "")

    def positions_of(self, group: str) -> str:
        """Return the name of the stream in which a group of a stream keeps how far it is."""
        return self._queue_of(group, ".#at")

    def _queue_of(self, group: str, kind: str) -> str:
        escaped = quote(group, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "#")
        queue = f"{self.topic}{kind}.{escaped}"
        _named(self.url, queue, "a group's queue", _QUEUE)
        return queue

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        if self.stream:
            positions = None if group is None else self.positions_of(group)
            return RabbitMQStreamConsumer(self, positions, start, follow=follow)
        queue = self.queue_of(group) if group is not None else f"{self.topic}.#{secrets.token_hex(8)}"
        return RabbitMQConsumer(self, queue, own=group is None, follow=follow)

    def producer(self) -> Producer:
        return RabbitMQProducer(self)

    async def declare_topic(self, channel: Channel) -> None:
        """Make the exchange where it is missing; ChannelPreconditionFailed where it is another kind of one."""
        await channel.exchange_declare(self.topic, exchange_type="fanout", durable=True)

    async def declare_stream(self, channel: Channel) -> None:
        """Make the topic's stream where it is missing, and bind it."""
        settings = self.settings
        arguments: dict[str, Any] = {"x-queue-type": "stream"}
        if settings.max_bytes is not None:
            arguments["x-max-length-bytes"] = settings.max_bytes
        if settings.max_age is not None:
            arguments["x-max-age"] = f"{settings.max_age}s"
        if settings.segment is not None:
            arguments["x-stream-max-segment-size-bytes"] = settings.segment
        await channel.queue_declare(self.topic, durable=True, arguments=arguments)
        await channel.queue_bind(self.topic, self.topic)

    async def declare_positions(self, channel: Channel, stream: str) -> None:
        """Make the stream of a group's positions: some thousand of them are kept, of which the last one counts."""
        arguments: dict[str, Any] = {
            "x-queue-type": "stream",
            "x-max-length-bytes": _POSITIONS,
            "x-stream-max-segment-size-bytes": _POSITIONS // 2,
        }
        await channel.queue_declare(stream, durable=True, arguments=arguments)

    async def declare_queue(self, channel: Channel, queue: str, *, own: bool = False) -> int:
        """Make a queue where it is missing, bind it, and return how many messages wait in it."""
        settings = self.settings
        arguments: dict[str, Any] = {"x-queue-type": "classic" if own else settings.queue}
        if own:
            arguments["x-expires"] = _KEPT
        if settings.max_length is not None and not own:
            arguments["x-max-length"] = settings.max_length
            arguments["x-overflow"] = "reject-publish"
        if settings.delivery_limit is not None and not own:
            arguments["x-delivery-limit"] = settings.delivery_limit
        declared = await channel.queue_declare(queue, durable=True, arguments=arguments)
        await channel.queue_bind(queue, self.topic)
        return int(declared.message_count or 0)


def _named(url: str, name: str, what: str, longest: int) -> None:
    if name.startswith("amq."):
        raise ArgumentError(f"topic({url!r}): names that begin with amq. are the server's own; take another")
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"topic({url!r}): {what} has a name of letters, digits, blanks and -_.:@#,/; {name!r} has others"
        )
    if len(name) > longest:
        raise ArgumentError(
            f"topic({url!r}): {what} has a name of {longest} characters at most; {name!r} is longer"
        )
