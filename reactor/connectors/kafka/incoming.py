"""Messages of Kafka as deliveries: what is this consumer's to read, and what is in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from confluent_kafka import KafkaError, Message, TopicPartition

from reactor.connectors.brokers import Columns, Delivery, Wire
from reactor.connectors.brokers.pairs import Pairs
from reactor.connectors.brokers.wire import MOST, Told, text_of
from reactor.connectors.kafka.lots import LIFE, Headers, Lot
from reactor.connectors.kafka.names import Names
from reactor.contracts import VERSION


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
        self._types: dict[bytes | None, str] = {}
        self._versions: dict[bytes | None, str] = {}

    def lot(self, messages: list[Message], failed: Callable[[KafkaError, Message], None]) -> Lot | None:
        """Return what is in them, without those that aren't this consumer's to read, or came after the end."""
        errors = [error for error in map(Message.error, messages) if error is not None]
        if errors:
            good: list[Message] = []
            for message in messages:
                if (error := message.error()) is None:
                    good.append(message)
                else:
                    failed(error, message)
            messages = good
        parts = self._parts(messages)
        owned, ends = self._owned, self._ends
        if ends is not None or any(part not in owned for part in set(parts)):
            kept = [at for at, part in enumerate(parts) if part in owned and self._wanted(part, messages[at])]
            parts, messages = [parts[at] for at in kept], [messages[at] for at in kept]
        return self._opened(messages, parts) if messages else None

    def _parts(self, messages: Sequence[Message]) -> list[str]:
        numbers = cast("map[int]", map(Message.partition, messages))
        if self._names.several:
            topics: Sequence[str | None] = [*map(Message.topic, messages)]
            return [self._name(topic, number) for topic, number in zip(topics, numbers, strict=True)]
        names = self._called[None]
        try:
            return [names[number] for number in numbers]
        except IndexError:
            return [self._name(None, cast(int, message.partition())) for message in messages]

    def _name(self, topic: str | None, number: int) -> str:
        names = self._called[topic]
        while number >= len(names):
            names.append(self._names.of(TopicPartition(topic or "", len(names))))
        return names[number]

    def _wanted(self, part: str, message: Message) -> bool:
        if self._ends is None:
            return True
        end, offset = self._ends.get(part, 0), cast(int, message.offset())
        if offset + 1 >= end:
            self.done.add(part)
        return offset < end

    def _opened(self, messages: list[Message], parts: list[str]) -> Lot:
        afters = [cast(int, offset) + 1 for offset in map(Message.offset, messages)]
        topics = [cast(str, topic) for topic in map(Message.topic, messages)] if self._names.several else []
        keys = [*map(Message.key, messages)]
        datas = [data or b"" for data in map(Message.value, messages)]
        stamps = [stamp[1] for stamp in map(Message.timestamp, messages)]
        types: list[str] = []
        versions: list[str | None] = []
        texts: list[Headers | Told] = []
        its_type, its_version = self._wire.type, self._wire.version
        type_of, version_of = self._types.get, self._versions.get
        add_type, add_version, add = types.append, versions.append, texts.append
        messages.reverse()
        for at in range(len(messages)):
            # A message is gone before the next one makes its headers: or else the collector is always busy.
            raw = cast("Sequence[tuple[str, bytes | None]] | None", messages.pop().headers())
            headers = dict(raw) if raw is not None else {}
            type, version = type_of(headers.get(its_type)), None
            if its_version in headers:
                version = version_of(headers[its_version])
                type = None if version is None else type
            if type is None or VERSION in headers:
                told = self._told(headers, datas[at])
                type, datas[at] = told.type, told.data
                version = told.headers.get(VERSION) if told.headers else None
                add(told)
            else:
                add(headers)
            add_type(type)
            add_version(version)
        return Lot(parts, afters, types, versions, datas, keys, stamps, texts, topics)

    def _told(self, headers: Headers, data: bytes) -> Told:
        """Take a message apart, and remember what its type and version are as text."""
        texts = text_of([*headers.items()])
        for name, known in ((self._wire.type, self._types), (self._wire.version, self._versions)):
            if headers.get(name) is not None and len(known) < MOST:
                known[headers[name]] = texts[name]
        return self._wire.read(texts, data)


class Outgoing:
    """Hands a lot to the task that reads, and says the rest of a message once that is asked for."""

    def __init__(self) -> None:
        self._wire = Wire("", "kafka")
        self._pairs = Pairs(self._wire)

    def columns(self, lot: Lot) -> Columns:
        """Return them as a consumer returns what it received."""

        def make(at: int) -> Delivery:
            part, after, key = lot.parts[at], lot.afters[at], lot.keys[at]
            type, its_key, own, time = self._rest(lot, at)
            if key is not None:
                its_key = key.decode("utf-8", "backslashreplace")
            topic = lot.topics[at] if lot.topics else None
            id = f"{part}@{(after - 1) % LIFE}"
            return Delivery(id, type, its_key, own, time, lot.datas[at], (part, after), topic)

        return Columns(lot.types, lot.versions, lot.datas, lot.parts, lot.afters, make)

    def _rest(self, lot: Lot, at: int) -> tuple[str, str | None, Mapping[str, str] | None, int]:
        headers = lot.headers[at]
        if not isinstance(headers, Told):
            known = self._pairs.read(tuple(headers), tuple(headers.values()))
            if known is not None:
                return known
            headers = self._wire.read(text_of([*headers.items()]), lot.datas[at])
        time = lot.stamps[at] * 1000 if headers.time is None else headers.time
        return headers.type, headers.key, headers.headers, time
