"""A topic at NATS JetStream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from reactor.connectors.brokers import Address, Broker, Capabilities, Consumer, Producer, configured
from reactor.connectors.log import From
from reactor.connectors.nats.group import GroupConsumer
from reactor.connectors.nats.producer import NatsProducer
from reactor.connectors.nats.reader import StreamReader
from reactor.connectors.nats.settings import Nats
from reactor.connectors.nats.streams import checked
from reactor.core import ArgumentError


class NatsBroker(Broker):
    """A subject, kept by a stream. Its groups are durable consumers."""

    capabilities: ClassVar[Capabilities] = Capabilities(ordered="topic", deduplicates=True)

    def __init__(self, address: Address, settings: Nats) -> None:
        super().__init__(address)
        self.settings = settings

    @classmethod
    def at(cls, url: str, config: Any) -> NatsBroker:
        address = Address.parse(url, port=4222, write="nats://HOST:PORT/TOPIC")
        alone = address.user is not None and address.password is None
        if alone:
            address = replace(address, user=None)  # it may be a token, and would be shown
        checked(address.path, str(address))
        settings = configured(address, Nats, config)
        settings.check(str(address))
        if alone:
            raise ArgumentError(
                f"topic({str(address)!r}): has a user without a password; "
                "a token is passed as ?token=, or as config=Nats(token=...)"
            )
        return cls(address, settings)

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        if group is None:
            return StreamReader(self.url, self.address, self.settings, start=start, follow=follow)
        return GroupConsumer(self.url, self.address, self.settings, group, start=start, follow=follow)

    def producer(self) -> Producer:
        return NatsProducer(self.url, self.address, self.settings)
