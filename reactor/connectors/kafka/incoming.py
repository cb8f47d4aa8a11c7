"""Messages of Kafka as deliveries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import cast

from confluent_kafka import Message, TopicPartition

from reactor.connectors.brokers import Delivery, Wire
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
        self._read = Wire("", "kafka").read

    def delivery(self, message: Message) -> Delivery | None:
        """Return it; None for one that isn't this consumer's to read, or came after the end."""
        partition, offset = cast(int, message.partition()), cast(int, message.offset())
        topic = message.topic() if self._names.several else None
        names = self._called[topic]
        while partition >= len(names):
            names.append(self._names.of(TopicPartition(topic or "", len(names))))
        name = names[partition]
        if name not in self._owned:
            return None
        if self._ends is not None:
            end = self._ends.get(name, 0)
            if offset + 1 >= end:
                self.done.add(name)
                if offset >= end:
                    return None
        key, headers = message.key(), cast("Raw", message.headers())
        _, type, its_key, own, time, data = self._read(text_of(headers), message.value() or b"")
        if key is not None:
            its_key = key.decode("utf-8", "backslashreplace")
        if time is None:
            time = message.timestamp()[1] * 1000
        return Delivery(f"{name}@{offset}", type, its_key, own, time, data, (name, offset + 1), topic)
