"""Which topics a consumer reads: one, or all whose names match a pattern; and how their partitions are called."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import OFFSET_INVALID, Consumer, Message, TopicPartition

from reactor.connectors.kafka.patterns import Pattern, is_pattern


class Names:
    """A partition is called by its number where one topic is read, and ``TOPIC/NUMBER`` where a pattern is."""

    def __init__(self, path: str) -> None:
        self.several = is_pattern(path)
        self._path = path
        self._pattern = Pattern(path) if self.several else None

    def of(self, place: TopicPartition | Message) -> str:
        topic, partition = _told(place)
        return f"{topic}/{partition}" if self.several else str(partition)

    def place(self, name: str, offset: int = OFFSET_INVALID) -> TopicPartition:
        topic, _, number = name.rpartition("/")
        return TopicPartition(topic if self.several else self._path, int(number), offset)

    def topic(self, name: str) -> str:
        """Return the topic of a partition."""
        return name.rpartition("/")[0] if self.several else self._path

    def of_topic(self, count: int) -> list[str]:
        """Return the names of the one topic's partitions."""
        return [str(number) for number in range(count)]

    def topics(self, names: Iterable[str]) -> list[str]:
        """Return the topics that these partitions belong to."""
        return sorted({self.topic(name) for name in names}) if self.several else [self._path]

    def found(self, consumer: Consumer, seconds: float) -> list[str]:
        """Ask the cluster which partitions there are now. Raises KafkaException."""
        if self._pattern is None:
            known = consumer.list_topics(self._path, timeout=seconds).topics
        else:
            known = consumer.list_topics(timeout=seconds).topics
        return [
            self.of(TopicPartition(topic, number))
            for topic, told in sorted(known.items())
            if told.error is None and (self._pattern is None or self._pattern.matches(topic))
            for number in sorted(told.partitions)
        ]


def _told(place: TopicPartition | Message) -> tuple[str | None, int | None]:
    if isinstance(place, TopicPartition):
        return place.topic, place.partition
    return place.topic(), place.partition()
