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
from reactor.core import ArgumentError

_PORTS = {"amqp": 5672, "amqps": 5671}
_EXCHANGE, _QUEUE = 127, 255
"""Characters of a name, at most."""

_NAME = re.compile(r"[a-zA-Z0-9-_.:@#,/ ]+")
"""What AMQP lets names be made of."""

_KEPT = 10 * 60 * 1000
"""Milliseconds for which the queue of a reader without a group waits for it to connect again."""


class RabbitMQBroker(Broker):
    """A durable fanout exchange, and a durable queue for each group."""

    capabilities = Capabilities(retains=False, replay=False, largest=RabbitMQ().largest)

    def __init__(self, address: Address, settings: RabbitMQ, vhost: str, topic: str) -> None:
        super().__init__(address)
        self.topic = topic
        self.settings = settings
        self.capabilities = replace(type(self).capabilities, largest=settings.largest)  # type: ignore[misc]
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

    def queue_of(self, group: str) -> str:
        """Return the name of the group's queue: its last dot stands before the group, which is escaped."""
        escaped = quote(group, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "#")
        queue = f"{self.topic}.{escaped}"
        _named(self.url, queue, "a group's queue", _QUEUE)
        return queue

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        queue = self.queue_of(group) if group is not None else f"{self.topic}.#{secrets.token_hex(8)}"
        return RabbitMQConsumer(self, queue, own=group is None, follow=follow)

    def producer(self) -> Producer:
        return RabbitMQProducer(self)

    async def declare_topic(self, channel: Channel) -> None:
        """Make the exchange where it is missing; ChannelPreconditionFailed where it is another kind of one."""
        await channel.exchange_declare(self.topic, exchange_type="fanout", durable=True)

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
