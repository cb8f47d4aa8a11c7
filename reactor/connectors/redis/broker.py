"""One stream at Redis as a topic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from reactor.connectors.brokers import Address, Broker, Capabilities, Consumer, Producer, configured
from reactor.connectors.log import From
from reactor.connectors.redis.group import GroupConsumer
from reactor.connectors.redis.place import Place
from reactor.connectors.redis.producer import RedisProducer
from reactor.connectors.redis.reader import LogConsumer
from reactor.connectors.redis.settings import Redis
from reactor.core import ArgumentError


class RedisBroker(Broker):
    """A stream. Its entries stay, whoever has read them, until ``maxlen`` or somebody removes them."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, address: Address, settings: Redis) -> None:
        super().__init__(address)
        self.settings = settings
        self.identity = f"redis://{address.servers}/{settings.db}/{address.path}"
        self._place = Place(address, settings)

    @classmethod
    def at(cls, url: str, config: Any) -> RedisBroker:
        address = Address.parse(url, port=6379, write="redis://HOST:PORT/TOPIC")
        address = replace(address, user=address.user or None)  # redis://:password@... is the default user
        settings = configured(address, Redis, config)
        settings.check(str(address))
        if len(address.hosts) > 1:
            raise ArgumentError(
                f"topic({str(address)!r}): one server; Redis Cluster and Sentinel aren't supported"
            )
        if address.scheme != "rediss" and (settings.tls_ca or settings.tls_cert):
            raise ArgumentError(f"topic({str(address)!r}): tls_ca and tls_cert need rediss://")
        return cls(address, settings)

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        if group is None:
            return LogConsumer(self._place, start=start, follow=follow)
        return GroupConsumer(self._place, group, start=start, follow=follow)

    def producer(self) -> Producer:
        return RedisProducer(self._place)
