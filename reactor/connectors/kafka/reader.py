"""The consumer's thread: polls, takes messages apart, follows the group's rebalances."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from reactor.connectors.brokers import Address
from reactor.connectors.kafka.cluster import Attempt, Health, Stopped, client, reach, refusal
from reactor.connectors.kafka.commits import Commits
from reactor.connectors.kafka.discovery import Discovery
from reactor.connectors.kafka.incoming import Incoming
from reactor.connectors.kafka.names import Names
from reactor.connectors.kafka.parts import Parts
from reactor.connectors.kafka.settings import Kafka, consuming
from reactor.connectors.kafka.shelf import Shelf
from reactor.connectors.kafka.starts import Starts
from reactor.connectors.log import From
from reactor.connectors.loops import Waiter
from reactor.core import TopicError

R = TypeVar("R")

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
        self._called = Names(address.path)
        self._there = Discovery(self._called, url, settings.discover)
        self._settings = settings
        self._group = group
        self._follow = follow
        self._need_ends = not follow or start == "latest"
        self._health = Health(url)
        self._commits = Commits(self._called, self.shelf, self._health, self.shelf.fail)
        self.starts = Starts(self._called, start, self._ask)
        self._incoming = Incoming(self._called, self._commits.owned, None if follow else self.starts.ends)
        self.parts = Parts(self.shelf, self.starts, self._commits.owned, self._incoming.done)
        self._serve: Callable[[float], object] = time.sleep
        self._patience: float | None = settings.patience
        self._turns: dict[str, int] = {}
        """How often each partition has come here."""
        self._paused: list[TopicPartition] = []
        self._full_since: float | None = None
        self._joined: float | None = None
        """When the partitions were dealt last."""

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
        several = self._called.several
        if not several:
            found = reach(self._address, self._url, self._address.path, self._settings, self._stopped)
            self._there.knows(self._called.of_topic(found.partitions))
        values = {
            # A consumer without a group has a name for one all the same; the broker never hears of it.
            **consuming(self._address, self._settings, self._group or "reactor"),
            "error_cb": self._health.told,
            "on_commit": self._commits.answered,
        }
        consumer = client(self._url, Consumer, values)
        try:
            self._serve = lambda seconds: consumer.poll(seconds)
            if several:
                self._there.knows(self._tried(lambda seconds: self._called.found(consumer, seconds)))
            if self._need_ends:
                self.starts.look(consumer, self._there.known)
            if self._group is not None:
                self.starts.found(consumer, self._there.known)
            self._patience = None
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _stopped(self) -> bool:
        return self.shelf.stopped

    def _ask(self, call: Callable[[float], list[TopicPartition]]) -> list[TopicPartition]:
        return self._tried(call)

    def _tried(self, call: Callable[[float], R]) -> R:
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
            self._assigned(consumer, [self._called.place(name) for name in self._there.known])
        else:
            self._subscribe(consumer)
        while not shelf.stopped and shelf.error is None:
            if self._group is not None:
                self._commits.step(consumer)
            if self.parts.wanted:
                self.parts.ask(consumer)
            self._step(consumer)
            self._health.check()

    def _subscribe(self, consumer: Consumer) -> None:
        topics = self._there.topics
        if topics:
            consumer.subscribe(
                topics,
                on_assign=self._guarded(self._assigned),
                on_revoke=self._guarded(self._revoked),
                on_lost=self._guarded(self._lost),
            )
        elif self._follow:
            consumer.unsubscribe()
        else:
            self._joined = 0.0  # there is nothing to wait for

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
                owned, called = self._commits.owned, self._called
                consumer.resume([place for place in self._paused if called.of(place) in owned])
                self._paused = []
        first = consumer.poll(_SOON if self._group is not None and self._commits.in_flight() else _IDLE)
        if first is not None:
            self._take(consumer, first, min(room, _BATCH) - 1)
        if self._follow and (self._group is None or self._called.several):
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
            name = self._called.of(first)
            turn = self._turns.get(name)
            messages += consumer.consume(more, 0)
            if self._turns.get(name) != turn:
                del messages[0]  # it went and came back meanwhile: it is read again
        lot = self._incoming.lot(messages, self._told)
        if lot is not None:
            self._health.works()
            self.shelf.put(lot)
        self.parts.look()

    def _told(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            name, offset = self._called.of(message), message.offset()
            self.parts.ends[name] = offset or 0
            if not self._follow and offset is not None and offset >= self.starts.ends.get(name, 0):
                self._incoming.done.add(name)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise TopicError(
                f"{self._url}: partition {self._called.of(message)} has to be read from {message.offset()} on, "
                "which isn't there any more: it keeps too little, or was made anew; gap=earliest goes on with "
                "what is"
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
        """Nobody tells of new topics; nor of new partitions, where there is no group."""
        topics = self._there.topics
        if not self._there.changed(consumer):
            return
        owned, place = self._commits.owned, self._called.place
        gone = self._there.gone(owned)
        self._gone(gone)
        if self._group is None:
            consumer.incremental_unassign([place(name) for name in gone])
            self._assigned(consumer, [place(name) for name in self._there.known if name not in owned])
        elif self._there.topics != topics:
            self._subscribe(consumer)

    # Rebalances -----------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        self._joined = time.monotonic()
        if not names:
            return
        shelf = self.shelf
        if anew := self._there.anew(names):
            shelf.forget(anew)
            self.starts.forget(anew)
        group = {} if self._group is None else self.starts.committed(consumer, names)
        starts, new = self.starts.of(consumer, names, group, shelf.delivered)
        assigned = [self._called.place(name, starts[name]) for name in names]
        consumer.incremental_assign(assigned)
        if self._paused:
            consumer.pause(assigned)
            self._paused += assigned
        self.parts.came(names)
        for name in names:
            self._turns[name] = self._turns.get(name, 0) + 1
            self._incoming.done.discard(name)
            if not self._follow and starts[name] >= self.starts.ends.get(name, 0):
                self._incoming.done.add(name)
        with shelf.changed:
            self._commits.owned.update((name, group.get(name, -1)) for name in names)
            # Where it began is told at once: who comes after a crash doesn't begin later than this one did.
            for name, at in new.items():
                shelf.settled.setdefault(name, at)
        self.parts.look()
        shelf.turn()

    def _revoked(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        self.shelf.drop(set(names))
        if not self.shelf.stopped:
            there = [name for name in names if name in self._commits.owned]  # not those whose topic is gone
            self._commits.hand_over(consumer, there, self._settings.revoke_patience)
        self._gone(names)
        consumer.incremental_unassign(list(places))

    def _lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        log.warning("%s: the group has gone on without this member, which begins anew", self._url)
        self.shelf.drop(set(names))
        self._gone(names)
        consumer.incremental_unassign(list(places))

    def _gone(self, names: Sequence[str]) -> None:
        self._joined = time.monotonic()
        with self.shelf.changed:
            for name in names:
                self._commits.owned.pop(name, None)
        self.shelf.turn()
