"""The consumer's thread: polls, takes messages apart, follows the group's rebalances."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from reactor.connectors.brokers import Address
from reactor.connectors.kafka.cluster import Admin, Attempt, Health, Stopped, client, reach, refusal
from reactor.connectors.kafka.commits import Commits
from reactor.connectors.kafka.discovery import Discovery
from reactor.connectors.kafka.ids import Ids, Told
from reactor.connectors.kafka.incoming import Incoming
from reactor.connectors.kafka.lives import Lives
from reactor.connectors.kafka.parts import Parts
from reactor.connectors.kafka.renewals import Renewals
from reactor.connectors.kafka.settings import Kafka, consuming
from reactor.connectors.kafka.shelf import Positions, Shelf
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
"""Seconds after which a member that got no partition believes that it gets none, above ``revoke_patience``."""


class Reader:
    """One opening of a consumer."""

    def __init__(
        self,
        address: Address,
        url: str,
        settings: Kafka,
        lives: Lives,
        *,
        group: str | None,
        start: From,
        follow: bool,
    ) -> None:
        self.shelf = Shelf(settings.prefetch)
        self._address = address
        self._url = url
        self._lives = lives
        self._called = lives.names
        self._there = Discovery(self._called, url, settings.discover)
        self._settings = settings
        self._group = group
        self._follow = follow
        self._need_ends = not follow or start == "latest"
        self._health = Health(url)
        self._commits = Commits(lives, self.shelf, self._health, self.shelf.fail, group=group is not None)
        self.starts = Starts(lives, start, self._ask, group=group is not None)
        self._incoming = Incoming(self._called, self._commits.owned, None if follow else self.starts.ends)
        self._renewals = Renewals(url, settings, lives, self._commits, self._stopped)
        self.parts = Parts(self.shelf, self.starts, self._commits.owned, self._incoming.done)
        self._serve: Callable[[float], object] = time.sleep
        self._patience: float | None = settings.patience
        self._leaving: set[str] = set()
        """Topics whose partitions are given back to the group."""
        self._left = False
        """True where the group was told so."""
        self._missed: dict[str, int | None] = {}
        """Partitions whose next message isn't there: the offset that was asked for."""
        self._turns: dict[str, int] = {}
        """How often each partition has come here."""
        self._paused: list[TopicPartition] = []
        self._full_since: float | None = None
        self._joined: float | None = None
        """When the partitions were dealt last; None while the group goes on without this member."""
        self._member = False
        """True where it had to join while it was opened."""
        self._sought: Waiter[None] | None = None
        """Told once what was dealt by then is read from where it was sought."""

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
            self._found()
            if consumer is not None:
                consumer.close()
            self._renewals.close()
            self.shelf.release()

    def _open(self) -> Consumer:
        several, topic = self._called.several, self._address.path
        admin = self._renewals.admin = Admin(self._address, self._url, self._settings)
        ids: Ids = {}
        if not several:
            found = reach(self._address, self._url, topic, self._settings, self._stopped, by=admin)
            self._there.knows(self._called.of_topic(found.partitions))
            ids = {} if found.id is None else {topic: Told(found.id, found.partitions)}
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
                ids = self._asked(self._there.topics)
            admin.health.quiet = True
            self.starts.topics(ids)
            if self._need_ends:
                self.starts.look(consumer, self._there.known)
            if self._group is not None and not self.starts.found(consumer, self._there.known, ids):
                self._join(consumer)
            self._patience = None
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _join(self, consumer: Consumer) -> None:
        """The group reads other topics: become a member now, and tell it where this one begins."""
        self._patience, self._serve, self._member = None, time.sleep, True
        deadline = time.monotonic() + self._settings.patience + self._settings.session_timeout
        self._subscribe(consumer)
        while not self.shelf.stopped and (self._joined is None or self._commits.due()):
            self._commits.step(consumer)
            self._step(consumer)
            self._health.check()
            if self.shelf.error is not None:
                raise self.shelf.error
            if time.monotonic() > deadline:
                raise TopicError(
                    f"{self._url}: the group {self._group} has members that read other topics, and they haven't "
                    "let this one in; give it a group of its own"
                )

    async def seek(self, positions: Mapping[str, int]) -> None:
        """Go on at these; called before anything was taken."""
        self.starts.seek(positions)
        if not self._member:
            return
        sought: Waiter[None] = Waiter()
        with self.shelf.changed:
            if self.shelf.stopped:
                return
            self._sought = sought
            self.shelf.changed.notify_all()
        await sought.wait()

    def _stopped(self) -> bool:
        return self.shelf.stopped

    def _ask(self, call: Callable[[float], list[TopicPartition]]) -> list[TopicPartition]:
        return self._tried(call)

    def _tried(self, call: Callable[[float], R]) -> R:
        patience = float("inf") if self._patience is None else self._patience
        return Attempt(self._health, patience, self._stopped).until(call, self._serve)

    def _asked(self, topics: Sequence[str]) -> Ids:
        return self._renewals.insist(topics, self._serve)

    # Running --------------------------------------------------------------------------------------------------

    def _go(self, consumer: Consumer) -> None:
        shelf = self.shelf
        with shelf.changed:
            while not (shelf.begun or shelf.stopped or self._member):
                shelf.changed.wait()
        if shelf.stopped:
            return
        # From here on callbacks of a rebalance ask the broker: they can't poll meanwhile.
        self._serve = time.sleep
        if self._group is None:
            self._assigned(consumer, [self._called.place(name) for name in self._there.known])
        elif not self._member:
            self._subscribe(consumer)
        while not shelf.stopped and shelf.error is None:
            if self._sought is not None:
                self._again_from(consumer)
                self._found()
            if self._group is not None:
                self._commits.step(consumer)
            if self._leaving:
                self._leave(consumer)
            if self.parts.wanted:
                self.parts.ask(consumer)
            self._step(consumer)
            self._health.check()

    def _again_from(self, consumer: Consumer) -> None:
        """Partitions were dealt before it was known where they are to be read from."""
        names = [*self._commits.owned]
        if not names:
            return
        self.shelf.drop(names)
        places = [self._called.place(name) for name in names]
        consumer.incremental_unassign(places)
        self._assigned(consumer, places)

    def _found(self) -> None:
        with self.shelf.changed:
            sought, self._sought = self._sought, None
        if sought is not None:
            sought.succeed(None)

    def _subscribe(self, consumer: Consumer) -> None:
        topics = [topic for topic in self._there.topics if topic not in self._leaving]
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
        if self._there.due():
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
            self.shelf.put(self._lives.placed(lot) if self._lives.bases else lot)
        if self._missed:
            self._miss(consumer)
        self.parts.look()

    def _told(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            name, offset = self._called.of(message), message.offset()
            self.parts.ends[name] = self._lives.position(name, offset or 0)
            if not self._follow and offset is not None and offset >= self.starts.ends.get(name, 0):
                self._incoming.done.add(name)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._missed[self._called.of(message)] = message.offset()
        elif (refused := refusal(self._url, error)) is not None:
            raise refused
        else:
            log.debug("%s: %s", self._url, error)

    def _miss(self, consumer: Consumer) -> None:
        """The next messages aren't there: the topic was made anew, or keeps too little."""
        missed, self._missed = self._missed, {}
        anew = self._renewed(consumer, self._asked(self._called.topics(missed)))
        for name, offset in missed.items():
            if self._called.topic(name) in anew or name not in self._commits.owned:
                continue
            if self.starts.at_beginning(name) and name not in self.shelf.reached | self.shelf.delivered:
                # What was deleted since it was asked where the partition begins, nobody was to have.
                place = self._lives.place(name, OFFSET_BEGINNING)
                consumer.incremental_unassign([place])
                consumer.incremental_assign([place])
                continue
            raise TopicError(
                f"{self._url}: partition {name} has to be read from {offset} on, which isn't there any more: it "
                "keeps too little, or was made anew; gap=earliest goes on with what is"
            )

    def _at_end(self) -> bool:
        owned = self._commits.owned
        if self._joined is None:
            return False
        if not owned:
            # Who has them may hold them for so long.
            alone = _ALONE + self._settings.revoke_patience
            return self._group is None or time.monotonic() - self._joined > alone
        return all(name in self._incoming.done for name in owned)

    def _discover(self, consumer: Consumer) -> None:
        """Nobody tells of new topics; nor of new partitions, where there is no group; nor of a topic made anew."""
        owned, place, topics = self._commits.owned, self._called.place, self._there.topics
        looks = self._follow and (self._group is None or self._called.several)
        changed = looks and self._there.changed(consumer)
        ids = self._renewals.look(owned)
        self._renewed(consumer, ids)
        if not changed:
            return
        gone = self._there.gone(owned)
        self._gone(gone)
        if self._group is None:
            consumer.incremental_unassign([place(name) for name in gone])
            self._assigned(consumer, [place(name) for name in self._there.known if name not in owned])
        elif self._there.topics != topics:
            self._subscribe(consumer)

    def _renewed(self, consumer: Consumer, ids: Ids) -> set[str]:
        """Return which of these topics were made anew since the last look."""
        anew = self._renewals.changed(ids)
        self._renewals.settle(consumer, ids, anew, self._commits.owned)
        self.starts.topics(ids)
        if anew:
            self._again(consumer, anew)
        return anew

    def _again(self, consumer: Consumer, topics: set[str]) -> None:
        """These topics were made anew: what is owned of them is read anew, too."""
        owned, called = self._commits.owned, self._called
        names = [name for name in owned if called.topic(name) in topics]
        if not self._follow:
            self._commits.begin({name: self._lives.base(name) - 1 for name in names}, {})
            self._incoming.done.update(names)  # what was there as of opening isn't any more
            return
        self._gone(names)
        if self._group is not None:
            self._leaving |= topics
            self._left = False
            return
        consumer.incremental_unassign([called.place(name) for name in names])
        self._assigned(consumer, [called.place(name) for name in names if name in self._there.known])

    def _leave(self, consumer: Consumer) -> None:
        """Partitions of topics that were made anew are given back, and asked for again: they come fresh."""
        if not self._left:
            self._left = True
            self._subscribe(consumer)
        elif not any(place.topic in self._leaving for place in consumer.assignment()):
            self._leaving.clear()
            self._subscribe(consumer)

    # Rebalances -----------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        self._joined = time.monotonic()
        if self._group is not None:
            self.starts.keep({*self._commits.owned, *names})
        if not names:
            return
        self.shelf.resume()
        shelf, lives = self.shelf, self._lives
        ids = self._asked(self._called.topics(names))
        committed = {} if self._group is None else self.starts.committed(consumer, names)
        group, anew = self._of_now(consumer, names, committed, ids)
        if deleted := [name for name in self._there.anew(names) if self._called.topic(name) not in ids]:
            shelf.forget(deleted)
            self.starts.forget(deleted)
        starts, new = self.starts.of(consumer, names, group, shelf.delivered, anew)
        assigned = [lives.place(name, starts[name]) for name in names]
        consumer.incremental_assign(assigned)
        if self._paused:
            consumer.pause(assigned)
            self._paused += assigned
        else:
            consumer.resume(assigned)  # it may have been paused when it went
        self.parts.came(names)
        for name in names:
            self._turns[name] = self._turns.get(name, 0) + 1
            self._incoming.done.discard(name)
            if not self._follow and lives.offset(name, starts[name]) >= self.starts.ends.get(name, 0):
                self._incoming.done.add(name)
        self._commits.begin({name: group.get(name, lives.base(name) - 1) for name in names}, new)
        self.parts.look()
        shelf.turn()

    def _of_now(
        self, consumer: Consumer, names: Sequence[str], committed: Mapping[str, TopicPartition], ids: Ids
    ) -> tuple[Positions, list[str]]:
        """Return where the group stands, and which of these have positions only of topics that were before."""
        renewals, topic = self._renewals, self._called.topic
        changed, foreign = renewals.changed(ids), renewals.foreign(committed, ids)
        others = {topic(name) for name in foreign.difference(self.starts.sought)}
        renewals.settle(consumer, ids, changed | others, [*self._commits.owned, *names])
        self.starts.topics(ids)
        if changed:
            self._again(consumer, changed)
        anew = {*foreign, *(name for name in names if topic(name) in renewals.anew)}
        return renewals.group(committed, foreign), renewals.there(anew, ids)

    def _revoked(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        # What is there of a topic that was made anew can't be read again.
        self.shelf.drop({name for name in names if self._called.topic(name) not in self._leaving})
        if not self.shelf.stopped:
            there = [name for name in names if name in self._commits.owned]  # not those whose topic is gone
            self._commits.hand_over(consumer, there, self._settings.revoke_patience)
        self._goes_on(names)
        self._gone(names)
        consumer.incremental_unassign(list(places))

    def _lost(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        names = [self._called.of(place) for place in places]
        log.warning("%s: the group has gone on without this member, which begins anew", self._url)
        self.shelf.drop(set(names))
        self._goes_on(names)
        self._gone(names)
        self._joined = None
        consumer.incremental_unassign(list(places))

    def _goes_on(self, names: Sequence[str]) -> None:
        owned, delivered = self._commits.owned, self.shelf.delivered
        for name in names:
            if name in owned:
                self.starts.gone(name, delivered.get(name, -1), owned[name])

    def _gone(self, names: Sequence[str]) -> None:
        self._joined = time.monotonic()
        with self.shelf.changed:
            for name in names:
                self._commits.owned.pop(name, None)
        self.shelf.turn()
