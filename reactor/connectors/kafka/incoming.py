"""Messages of Kafka as deliveries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from confluent_kafka import KafkaError, Message, TopicPartition

from reactor.connectors.brokers import Delivery, Wire
from reactor.connectors.brokers.pairs import Known, Pairs
from reactor.connectors.brokers.wire import text_of
from reactor.connectors.kafka.names import Names

Raw = Sequence[tuple[str, bytes | str | None]] | None


class Incoming:
    """Takes messages apart, of partitions that are ``owned`` and up to their ``ends``, where there are some."""

    def __init__(self, names: Names, owned: Mapping[str, int], ends: Mapping[str, int] | None) -> None:
        self.done: set[str] = set()
        """Partitions that are read to their end."""
        self._owned = owned
        self._ends = ends
        self._names = names
        self._called: dict[str | None, list[str]] = defaultdict(list)
        """The names of each topic's partitions; under None those of the only one."""
        self._wire = Wire("", "kafka")
        self._pairs = Pairs(self._wire)

    def deliveries(
        self, messages: Sequence[Message], failed: Callable[[KafkaError, Message], None]
    ) -> list[Delivery]:
        """Return them, without those that aren't this consumer's to read, or came after the end."""
        batch: list[Delivery] = []
        add, make = batch.append, tuple.__new__
        owned, ends, several = self._owned, self._ends, self._names.several
        topic: str | None = None
        names, read = self._called[None], self._pairs.read
        for message in messages:
            if (error := message.error()) is not None:
                failed(error, message)
                continue
            partition, offset = cast(int, message.partition()), cast(int, message.offset())
            if several:
                topic = message.topic()
                names = self._called[topic]
            while partition >= len(names):
                names.append(self._names.of(TopicPartition(topic or "", len(names))))
            name = names[partition]
            if name not in owned:
                continue
            if ends is not None:
                end = ends.get(name, 0)
                if offset + 1 >= end:
                    self.done.add(name)
                    if offset >= end:
                        continue
            key, headers = message.key(), cast("Raw", message.headers())
            data = message.value() or b""
            known: Known | None = None
            if headers:
                called, values = zip(*headers, strict=True)
                known = read(called, values)
            if known is not None:
                type, its_key, own, time = known
            else:
                _, type, its_key, own, told, data = self._wire.read(text_of(headers), data)
                time = message.timestamp()[1] * 1000 if told is None else told
            if key is not None:
                its_key = key.decode("utf-8", "backslashreplace")
            id, token = f"{name}@{offset}", (name, offset + 1)
            add(make(Delivery, (id, type, its_key, own, time, data, token, topic)))
        return batch
