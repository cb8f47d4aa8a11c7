"""The consumer's thread: polls, takes messages apart, follows the group's rebalances."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from reactor.connectors.brokers import Address, Delivery
from reactor.connectors.kafka.cluster import Attempt, Health, Stopped, client, reach, refusal
from reactor.connectors.kafka.commits import Commits
from reactor.connectors.kafka.incoming import Incoming
from reactor.connectors.kafka.settings import Kafka, consuming
from reactor.connectors.kafka.shelf import Shelf
from reactor.connectors.kafka.starts import Starts
from reactor.connectors.log import From
from reactor.connectors.loops import Waiter
from reactor.core import TopicError

log = logging.getLogger("reactor")

_IDLE, _SOON = 0.05, 0.005
"""Seconds that it polls at once: usually, and while something may be settled, which waits as long."""

_BATCH = 1000

_CROWDED = 1.0
"""Seconds after which a consumer that has no room is paused, so that it can be polled."""

_ANSWER = 0.002
"""Seconds in which the answer to a commit may come."""

_ALONE = 3.0
"""Seconds after which a member that got no partition believes that it gets none."""


class Reader:
    """One opening of a consumer."""

    def __init__(
        self, address: Address, url: str, settings: Kafka, *, group: str | None, start: From, follow: bool
    ) -> None:
        self.shelf = Shelf(settings.prefetch)
        self._address = address
        self._url = url
        self._topic = address.path
        self._settings = settings
        self._group = group
        self._follow = follow
        self._need_ends = not follow or start == "latest"
        self._health = Health(url)
        self._commits = Commits(self._topic, self.shelf, self._health, self.shelf.fail)
        self._starts = Starts(self._topic, start, self._ask)
        self._incoming = Incoming(self._topic, self._commits.owned, None if follow else self._starts.ends)
        self._serve: Callable[[float], object] = time.sleep
        self._patience: float | None = settings.patience
        self._turns: dict[str, int] = {}
        """How often each partition has come here."""
        self._names: list[str] = []
        self._paused: list[TopicPartition] = []
        self._full_since: float | None = None
        self._joined: float | None = None
        """When the partitions were dealt last."""
        self._looked = 0.0

    @property
    def sought(self) -> dict[str, int]:
        return self._starts.sought

    def run(self, opened: Waiter[None]) -> None:
        """Be the thread; ``opened`` is told once the topic was found, or why not."""
        consumer: Consumer | None = None
        try:
            consumer = self._open()
        except BaseException as error:
            opened.fail(error)
        else:
            opened.succeed(None)
            try:
                self._go(consumer)
            except Stopped:
                pass
            except BaseException as error:
                self.shelf.fail(error)
        finally:
            self.shelf.stop()
            if consumer is not None:
                consumer.close()
            self.shelf.release()

    def _open(self) -> Consumer:
        found = reach(self._address, self._url, self._topic, self._settings, self._stopped)
        self._names = [str(n) for n in range(found.partitions)]
        values = {
            # A consumer without a group has a name for one all the same; the broker never hears of it.
            **consuming(self._address, self._settings, self._group or "reactor"),
            "error_cb": self._health.told,
            "on_commit": self._commits.answered,
        }
        consumer = client(self._url, Consumer, values)
        try:
            self._serve = lambda seconds: consumer.poll(seconds)
            if self._need_ends:
                self._starts.look(consumer, found.partitions)
            if self._group is not None:
                self._starts.found(consumer, self._names)
            self._patience = None
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _stopped(self) -> bool:
        return self.shelf.stopped

    def _ask(self, call: Callable[[float], list[TopicPartition]]) -> list[TopicPartition]:
        patience = float("inf") if self._patience is None else self._patience
        return Attempt(self._health, patience, self._stopped).until(call, self._serve)

    # Running --------------------------------------------------------------------------------------------------

    def _go(self, consumer: Consumer) -> None:
        shelf = self.shelf
        with shelf.changed:
            while not (shelf.begun or shelf.stopped):
                shelf.changed.wait()
        if shelf.stopped:
            return
        # From here on callbacks of a rebalance ask the broker: they can't poll meanwhile.
        self._serve = time.sleep
        if self._group is None:
            self._assigned(consumer, [TopicPartition(self._topic, int(name)) for name in self._names])
            self._looked = time.monotonic()
        else:
            consumer.subscribe(
                [self._topic],
                on_assign=self._guarded(self._assigned),
                on_revoke=self._guarded(self._revoked),
                on_lost=self._guarded(self._lost),
            )
        while not shelf.stopped and shelf.error is None:
            if self._group is not None:
                self._commits.step(consumer)
            self._step(consumer)
            self._health.check()

    def _guarded(
        self, call: Callable[[Consumer, list[TopicPartition]], None]
    ) -> Callable[[Consumer, list[TopicPartition]], None]:
        """An error inside of librdkafka's callback ends the reader, not the interpreter's stack."""

        def guarded(consumer: Consumer, places: list[TopicPartition]) -> None:
            try:
                call(consumer, places)
            except Stopped:
                pass
            except BaseException as error:
                self.shelf.fail(error)

        return guarded

    def _step(self, consumer: Consumer) -> None:
        room = self.shelf.room()
        if room < 1 and not self._paused:
            self._crowded(consumer)
            return
        if room >= 1:
            self._full_since = None
            if self._paused:
                owned = self._commits.owned
                consumer.resume([place for place in self._paused if str(place.partition) in owned])
                self._paused = []
        first = consumer.poll(_SOON if self._group is not None and self._commits.in_flight() else _IDLE)
        if first is not None:
            self._take(consumer, first, min(room, _BATCH) - 1)
        elif self._group is None and self._follow:
            self._discover(consumer)
        if not self._follow and self._at_end():
            self.shelf.finish()

    def _crowded(self, consumer: Consumer) -> None:
        """Without room it isn't polled, for a while; then it is paused, so that it can be polled."""
        now = time.monotonic()
        self._full_since = self._full_since or now
        left = self._full_since + _CROWDED - now
        if left <= 0:
            self._paused = consumer.assignment()
            consumer.pause(self._paused)
        elif self._commits.under_way:
            # The answer comes with a poll, which may bring a message, too.
            with self.shelf.changed:
                self.shelf.changed.wait(_ANSWER)
            first = consumer.poll(0)
            if first is not None:
                self._take(consumer, first, 0)
        else:
            with self.shelf.changed:
                self.shelf.changed.wait_for(self._wanted, left)

    def _wanted(self) -> bool:
        return self.shelf.stopped or self.shelf.room() > 0 or self.shelf.waiting()

    def _take(self, consumer: Consumer, first: Message, more: int) -> None:
        messages = [first]
        if more > 0:
            turn = self._turns.get(str(first.partition()))
            messages += consumer.consume(more, 0)
            if self._turns.get(str(first.partition())) != turn:
                del messages[0]  # it went and came back meanwhile: it is read again
        batch: list[Delivery] = []
        for message in messages:
            if (error := message.error()) is not None:
                self._told(error, message)
            elif (delivery := self._incoming.delivery(message)) is not None:
                batch.append(delivery)
        if batch:
            self._health.works()
            self.shelf.put(batch)

    def _told(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            name, offset = str(message.partition()), message.offset()
            if not self._follow and offset is not None and offset >= self._starts.ends.get(name, 0):
                self._incoming.done.add(name)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise TopicError(
                f"{self._url}: partition {message.partition()} has to be read from {message.offset()} on, which "
                "isn't there any more: it keeps too little, or was made anew; gap=earliest goes on with what is"
            )
        elif (refused := refusal(self._url, error)) is not None:
            raise refused
        else:
            log.debug("%s: %s", self._url, error)

    def _at_end(self) -> bool:
        owned = self._commits.owned
        if self._joined is None:
            return False
        if not owned:
            return self._group is None or time.monotonic() - self._joined > _ALONE
        return all(name in self._incoming.done for name in owned)

    def _discover(self, consumer: Consumer) -> None:
        """Without a group nobody tells of new partitions."""
        if time.monotonic() - self._looked < self._settings.discover:
            return
        self._looked = time.monotonic()
        try:
            found = consumer.list_topics(self._topic, timeout=1.0).topics[self._topic].partitions
        except (KafkaException, KeyError):
            return
        new = [TopicPartition(self._topic, n) for n in found if str(n) not in self._commits.owned]
        if new:
            self._assigned(consumer, new)

    # Rebalances -----------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [str(place.partition) for place in places]
        self._joined = time.monotonic()
        if not names:
            return
        shelf = self.shelf
        group = {} if self._group is None else self._starts.committed(consumer, names)
        starts, new = self._starts.of(consumer, names, group, shelf.delivered)
        assigned = [TopicPartition(self._topic, int(name), starts[name]) for name in names]
        consumer.incremental_assign(assigned)
        if self._paused:
            consumer.pause(assigned)
            self._paused += assigned
        for name in names:
            self._turns[name] = self._turns.get(name, 0) + 1
            self._incoming.done.discard(name)
            if not self._follow and starts[name] >= self._starts.ends.get(name, 0):
                self._incoming.done.add(name)
        with shelf.changed:
            self._commits.owned.update((name, group.get(name, -1)) for name in names)
            # Where it began is told at once: who comes after a crash doesn't begin later than this one did.
            for name, at in new.items():
                shelf.settled.setdefault(name, at)

    def _revoked(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [str(place.partition) for place in places]
        self.shelf.drop(set(names))
        if not self.shelf.stopped:
            self._commits.hand_over(consumer, names, self._settings.revoke_patience)
        self._gone(names)
        consumer.incremental_unassign(list(places))

    def _lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [str(place.partition) for place in places]
        log.warning("%s: the group has gone on without this member, which begins anew", self._url)
        self.shelf.drop(set(names))
        self._gone(names)
        consumer.incremental_unassign(list(places))

    def _gone(self, names: Sequence[str]) -> None:
        self._joined = time.monotonic()
        with self.shelf.changed:
            for name in names:
                self._commits.owned.pop(name, None)
