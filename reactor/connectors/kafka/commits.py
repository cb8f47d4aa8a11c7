"""The positions of a group: what this consumer owns, and what it tells the broker. On the consumer's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from reactor.connectors.kafka.cluster import Health, error_of, refusal
from reactor.connectors.kafka.lives import Lives
from reactor.connectors.kafka.shelf import Positions, Shelf

log = logging.getLogger("reactor")

_PAUSES = (0.1, 2.0)
"""Seconds between attempts to commit: the first, and the longest."""

_PROBE = 0.5
"""Seconds in which a broker that was lost has to answer."""


class Commits:
    """Commits what is settled, of partitions that are owned; a position never goes back."""

    def __init__(
        self,
        lives: Lives,
        shelf: Shelf,
        health: Health,
        fail: Callable[[BaseException], None],
        *,
        group: bool,
    ) -> None:
        self.owned: Positions = {}
        """What the group knows, by partition; one less than the first position: nothing."""
        self._group = group
        self._lives = lives
        self._shelf = shelf
        self._health = health
        self._fail = fail
        self.under_way = False
        self._next = 0.0
        self._pause = _PAUSES[0]

    def begin(self, known: Positions, new: Positions) -> None:
        """These partitions are owned from here on; where ``new`` ones begin is told at once.

        Who comes after a crash doesn't begin later than this one did.
        """
        settled = self._shelf.settled
        with self._shelf.changed:
            self.owned.update(known)
            for name, at in new.items():
                settled[name] = max(settled.get(name, -1), at)

    def leave(self, consumer: Consumer, names: Collection[str]) -> None:
        """Commit the positions of topics that are gone, where the group had some: the next one sees it, too.

        Kafka has deleted them with the topics.
        """
        settled, lives = self._shelf.settled, self._lives
        places = [lives.commit(name, max(settled.get(name, -1), lives.base(name))) for name in names]
        try:
            if places and self._group:
                consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            log.debug("%s: commit: %s", self._health.url, error)

    def due(self) -> Positions:
        with self._shelf.changed:
            settled = self._shelf.settled
            return {
                name: settled[name] for name, known in self.owned.items() if settled.get(name, -1) > known
            }

    def step(self, consumer: Consumer) -> None:
        """Begin what is due; the answer comes by ``answered``, while the consumer is polled."""
        if self.under_way or time.monotonic() < self._next:
            return
        due = self.due()
        if not due:
            self._shelf.release()
            return
        try:
            if self._health.lost:
                # A commit that waits for a broker would hold up closing, too.
                self._lives.names.found(consumer, _PROBE)
                self._health.works()
            self.under_way = True
            consumer.commit(offsets=self._places(due), asynchronous=True)
        except KafkaException as error:
            self.under_way = False
            self._failed(error_of(error))

    def in_flight(self) -> bool:
        """Whether the pipeline has messages that aren't settled, or may settle some soon."""
        delivered = self._shelf.delivered
        return any(delivered.get(name, -1) > known for name, known in self.owned.items())

    def answered(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        self.under_way = False
        failed = error
        for place in places:
            if place.error is not None:
                failed = failed or place.error
            elif error is None and (name := self._lives.names.of(place)) in self.owned:
                self.owned[name] = max(self.owned[name], self._lives.committed(name, place))
        if failed is not None:
            self._failed(failed)
            return
        self._pause = _PAUSES[0]
        self._health.works()
        if not self.due():
            self._shelf.release()

    def _failed(self, error: KafkaError | None) -> None:
        refused = refusal(self._health.url, error) if error is not None else None
        if refused is not None:
            self._fail(refused)
        # Also where the group has gone on without this member: it is told soon which partitions it has lost.
        self._next = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _PAUSES[1])

    def now(self, consumer: Consumer) -> None:
        """Commit what is due before this returns, if it can be done."""
        due = self.due()
        if due:
            try:
                self.answered(None, consumer.commit(offsets=self._places(due), asynchronous=False) or ())
            except KafkaException as error:
                log.debug("%s: commit: %s", self._health.url, error)
                return
        self._shelf.release()

    def hand_over(self, consumer: Consumer, names: Sequence[str], patience: float) -> None:
        """These partitions go to somebody else: wait until what the pipeline has of them is settled."""
        shelf = self._shelf
        deadline = time.monotonic() + patience
        while True:
            self.now(consumer)
            with shelf.changed:
                open_ = [name for name in names if shelf.delivered.get(name, -1) > self.owned.get(name, -1)]
                left = deadline - time.monotonic()
                if shelf.stopped or not open_:
                    return
                if left <= 0:
                    log.warning(
                        "%s: partitions %s go to another member of the group, with messages in flight that "
                        "weren't settled within %g s: these are read again there",
                        *(self._health.url, ", ".join(open_), patience),
                    )
                    return
                shelf.changed.wait(min(left, 0.1))

    def _places(self, positions: Positions) -> list[TopicPartition]:
        return [self._lives.commit(name, at) for name, at in positions.items()]
