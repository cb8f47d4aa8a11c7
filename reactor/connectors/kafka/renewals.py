"""Topics that are deleted and made anew under their names: noticed by their ids, before anything is mistaken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import TimeoutError as FutureTimeout

from confluent_kafka import Consumer, KafkaException, TopicPartition

from reactor.connectors.kafka.cluster import Admin
from reactor.connectors.kafka.commits import Commits
from reactor.connectors.kafka.ids import Ids, ask, insist
from reactor.connectors.kafka.lives import Lives, mark_of
from reactor.connectors.kafka.settings import Kafka
from reactor.connectors.kafka.shelf import Positions
from reactor.core import TopicError

log = logging.getLogger("reactor")

_LOOK = 1.0
"""Seconds in which the brokers have to tell the ids at a look; else the next one will do."""


class Renewals:
    """Of one opening. Without ids it notices nothing."""

    def __init__(
        self, url: str, settings: Kafka, lives: Lives, commits: Commits, stopped: Callable[[], bool]
    ) -> None:
        self.admin: Admin | None = None
        """Who is asked."""
        self.anew: set[str] = set()
        """Topics that were made anew since this was opened, or since they were read last."""
        self._url = url
        self._fails = settings.gap == "fail" and not lives.names.several
        self._lives = lives
        self._commits = commits
        self._stopped = stopped

    def close(self) -> None:
        if self.admin is not None:
            self.admin.close()

    def insist(self, topics: Collection[str], serve: Callable[[float], object]) -> Ids:
        """Ask for the ids until a broker answers, for a while."""
        return {} if self.admin is None else insist(self.admin, topics, self._stopped, serve)

    def look(self, names: Collection[str]) -> Ids:
        """Ask for the ids of these partitions' topics, once."""
        try:
            topics = {self._lives.names.topic(name) for name in names}
            return {} if self.admin is None else ask(self.admin, topics, _LOOK, self._stopped)
        except (KafkaException, FutureTimeout) as error:
            log.debug("%s: ids of topics aren't told: %s", self._url, error)
            return {}

    def changed(self, ids: Ids) -> set[str]:
        """Return which of these topics were made anew since they were seen last."""
        return {topic for topic, told in ids.items() if self._lives.other(topic, told.id)}

    def foreign(self, group: Mapping[str, TopicPartition], ids: Ids) -> set[str]:
        """Return of which partitions the group has committed a position of another topic of that name."""
        return {
            name
            for name, place in group.items()
            if (told := ids.get(place.topic)) and mark_of(place) not in (None, told.id)
        }

    def settle(self, consumer: Consumer, ids: Ids, anew: Collection[str], names: Collection[str]) -> None:
        """Take the topics for what they are now; raise TopicError where one may not be ``anew``.

        That the group's positions of ``names`` are none of the new one stays written there.
        """
        if anew and self._fails:
            self._commits.leave(consumer, names)
            raise TopicError(
                f"{self._url}: topic {', '.join(sorted(anew))} was deleted and made anew: positions in the one "
                "before are none in this one; gap=earliest reads it from its beginning"
            )
        for topic, told in ids.items():
            self._lives.sees(topic, told.id)
        self.anew.update(anew)
        if anew:
            log.warning("%s: deleted and made anew: %s", self._url, ", ".join(sorted(anew)))

    def there(self, names: Collection[str], ids: Ids) -> list[str]:
        """Return which of these partitions the topics of now have."""
        found = self._lives.names
        return [
            name
            for name in names
            if (told := ids.get(found.topic(name))) is None or found.place(name).partition < told.partitions
        ]

    def group(self, places: Mapping[str, TopicPartition], foreign: Collection[str]) -> Positions:
        """Return the group's positions, without those of other topics."""
        return {
            name: self._lives.position(name, place.offset)
            for name, place in places.items()
            if name not in foreign
        }
