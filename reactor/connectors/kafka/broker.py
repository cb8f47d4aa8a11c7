"""A topic of Apache Kafka, or a pattern of topics."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import anyio

from reactor.connectors.brokers import Address, Broker, Capabilities, Consumer, Producer, configured
from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.kafka.patterns import check_topic, is_pattern, only_read
from reactor.connectors.kafka.settings import Kafka, checked
from reactor.connectors.log import Entry, From
from reactor.core import MissingExtra, Refused, Sink

_WRITE = "kafka://HOST:PORT/TOPIC, for example kafka://localhost:9092/orders"
_PORT = 9092


class KafkaBroker(Broker):
    """``kafka://host:port[,host:port]/topic?option=...``; the options are those of ``Kafka``.

    A topic that begins with ``^`` is a regular expression: all topics whose names match it from their beginning,
    also those that are made later. It can only be read.
    """

    capabilities = Capabilities(ordered="key", transactional=True, largest=1_000_000)

    def __init__(self, address: Address, settings: Kafka) -> None:
        super().__init__(address)
        self.settings = settings
        self.transactional = settings.transactions

    @classmethod
    def at(cls, url: str, config: Any) -> KafkaBroker:
        if importlib.util.find_spec("confluent_kafka") is None:
            raise MissingExtra("Kafka", "kafka")
        address = Address.parse(url, port=_PORT, write=_WRITE)
        check_topic(str(address), address.path)
        return cls(address, checked(str(address), configured(address, Kafka, config)))

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        from reactor.connectors.kafka.consumer import KafkaConsumer

        return KafkaConsumer(self.address, self.settings, group, start=start, follow=follow)

    def producer(self) -> Producer:
        self._check_writable()
        from reactor.connectors.kafka.producer import KafkaProducer

        return KafkaProducer(self.address, self.settings)

    def sink(self, codec: Codec, *, key: Key, headers: Headers, time: Time, id: Id) -> Sink[Any]:
        self._check_writable()
        if not self.transactional:
            return super().sink(codec, key=key, headers=headers, time=time, id=id)
        from reactor.connectors.kafka.transactions import KafkaSink

        return KafkaSink(
            self.address, self.settings, codec, name=self.topic, key=key, headers=headers, time=time, id=id
        )

    def _check_writable(self) -> None:
        if is_pattern(self.address.path):
            raise only_read(str(self.address), self.address.path)

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        try:
            return await super().append(entries)
        except Refused:
            raise
        except BaseException:
            # Of a producer that has failed nothing more can be had; the next call makes another one.
            producer, self._opened = self._opened, None
            if producer is not None:
                with anyio.CancelScope(shield=True):
                    await producer.close()
            raise
