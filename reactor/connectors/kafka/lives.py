"""The lives of topics: one that is deleted and made anew under its name is another one, with another id."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import TopicPartition

from reactor.connectors.kafka.lots import LIFE, Lot
from reactor.connectors.kafka.names import Names
from reactor.connectors.kafka.shelf import Positions

_IN_A_COMMIT = "topic-id:"
_IN_A_BOOKMARK = "#"
"""Stands in no name of a topic."""


class Lives:
    """Of the topics that one source reads, also before it was restored.

    A position is ``LIFE`` times the number of its topic's life (the first that was seen has 0) plus the offset. So
    those of a topic that was made anew are behind all of the one before, and nobody takes one for the other.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.facts: Positions = {}
        """For a bookmark: ``TOPIC#ID`` for each life, with its first position."""
        self.bases: Positions = {}
        """By topic: the first position of its life of now, where that isn't 0."""
        self._numbers: dict[str, dict[str, int]] = {}
        self._now: dict[str, str] = {}

    def learn(self, positions: Mapping[str, int]) -> None:
        """Positions of a bookmark go on, with what it knows of ids."""
        for key, base in positions.items():
            topic, mark, id = key.rpartition(_IN_A_BOOKMARK)
            if mark:
                self._number(topic, id, base // LIFE)

    def _number(self, topic: str, id: str, number: int) -> None:
        numbers = self._numbers.setdefault(topic, {})
        numbers[id] = number
        self.facts = {**self.facts, f"{topic}{_IN_A_BOOKMARK}{id}": number * LIFE}  # another thread reads it
        if last := max(numbers.values()):
            self.bases[topic] = last * LIFE

    def other(self, topic: str, id: str) -> str | None:
        """Return the id that this topic had before; None where this one is known, or nothing is."""
        numbers = self._numbers.get(topic)
        return None if not numbers or id in numbers else max(numbers, key=numbers.__getitem__)

    def sees(self, topic: str, id: str) -> None:
        """The topic has this id now."""
        numbers = self._numbers.get(topic, {})
        if self._now.get(topic) != id:
            last = max(numbers.values(), default=-1)
            if numbers.get(id) != last:
                self._number(topic, id, last + 1)
            self._now[topic] = id

    # Positions ------------------------------------------------------------------------------------------------

    def base(self, name: str) -> int:
        """Return the first position of a partition, in its topic's life of now."""
        return self.bases.get(self.names.topic(name), 0)

    def position(self, name: str, offset: int) -> int:
        """Return what stands for an offset of now; what isn't one (below 0) remains."""
        return offset if offset < 0 else offset + self.base(name)

    def offset(self, name: str, position: int) -> int:
        return position if position < 0 else position - self.base(name)

    def present(self, name: str, position: int) -> bool:
        """Whether it is a position of the topic of now."""
        return 0 <= position - self.base(name) < LIFE

    def place(self, name: str, position: int) -> TopicPartition:
        return self.names.place(name, self.offset(name, position))

    def commit(self, name: str, position: int) -> TopicPartition:
        """Return what to commit: it says of which topic."""
        return marked(
            self.names.place(name), self.offset(name, position), self._now.get(self.names.topic(name))
        )

    def committed(self, name: str, place: TopicPartition) -> int:
        """Return the position of what was committed; -1 for one of an earlier life."""
        id = mark_of(place)
        return (
            -1
            if id is not None and id != self._now.get(self.names.topic(name))
            else self.position(name, place.offset)
        )

    def placed(self, lot: Lot) -> Lot:
        """Return it with positions instead of offsets."""
        return lot._replace(
            afters=[self.position(part, after) for part, after in zip(lot.parts, lot.afters, strict=True)]
        )


def marked(place: TopicPartition, offset: int, id: str | None) -> TopicPartition:
    """Return an offset to commit, with the id of its topic."""
    if id is None:
        return TopicPartition(place.topic, place.partition, offset)
    return TopicPartition(place.topic, place.partition, offset, metadata=f"{_IN_A_COMMIT}{id}")


def mark_of(place: TopicPartition) -> str | None:
    """Return the id of the topic for which this was committed; others don't say it."""
    metadata = place.metadata
    if metadata is None or not metadata.startswith(_IN_A_COMMIT):
        return None
    return metadata.removeprefix(_IN_A_COMMIT)
