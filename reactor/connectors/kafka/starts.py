"""Where a partition is read from, when it comes to a consumer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from reactor.connectors.codec import microseconds
from reactor.connectors.kafka.cluster import error_of
from reactor.connectors.kafka.ids import Ids
from reactor.connectors.kafka.lives import Lives, mark_of, marked
from reactor.connectors.kafka.shelf import Positions
from reactor.connectors.log import From

Ask = Callable[[Callable[[float], list[TopicPartition]]], list[TopicPartition]]
"""Calls until the broker has answered."""

_SOON, _TICK = 2.0, 0.02
"""Seconds in which it is found out where a topic that was made anew begins, and between two questions."""

_LATEST, _EARLIEST = -1, -2
"""As times they ask for the end, and for the beginning."""


class Starts:
    """The first positions of one opening's partitions."""

    def __init__(self, lives: Lives, start: From, ask: Ask, *, group: bool) -> None:
        self._lives = lives
        self._names = lives.names
        self._start = start
        self._ask = ask
        self._group = group
        self._known = False
        """True for who has read before: of what it knows nothing, that was made since."""
        self._ids: dict[str, str] = {}
        self.ends: Positions = {}
        """The offset at which each partition ended as of opening; only where somebody has to know."""
        self.sought: Positions = {}
        """Positions of a checkpoint: they count once, and more than the group's."""
        self.begun: Positions = {}
        """Where partitions began: in a group all, else those that began at their end, or at a time."""
        self._first: Positions = {}
        """Of partitions that are read from wherever they begin: where that was."""

    def seek(self, positions: Mapping[str, int]) -> None:
        self.sought.update(positions)
        self._known = True

    def forget(self, names: Collection[str]) -> None:
        """These were deleted, and are others now, under the same names."""
        for name in names:
            for positions in (self.ends, self.sought, self.begun, self._first):
                positions.pop(name, None)

    def topics(self, ids: Ids) -> None:
        """The topics have these ids now: of one that was made anew it isn't known any more where it ended."""
        for topic, told in ids.items():
            if self._ids.setdefault(topic, told.id) != told.id:
                self._ids[topic] = told.id
                for name in [name for name in self.ends if self._names.topic(name) == topic]:
                    del self.ends[name]

    def at_beginning(self, name: str) -> bool:
        """Whether the partition is read from wherever it begins, should that be later by now."""
        return name in self._first

    def look(self, consumer: Consumer, names: Sequence[str]) -> None:
        """Take down where the partitions end now; who is to begin there, without a group, has begun."""
        self.ends.update(self._at(consumer, names, _LATEST))
        if self._start == "latest" and not self._group:
            self.begun.update({name: self._lives.position(name, end) for name, end in self.ends.items()})

    def _at(self, consumer: Consumer, names: Sequence[str], at: int) -> Positions:
        asked = [self._names.place(name, at) for name in names]
        if not asked:
            return {}

        def answer(seconds: float) -> list[TopicPartition]:
            found = _whole(consumer.offsets_for_times(asked, timeout=seconds))
            if at < 0 and any(each.offset < 0 for each in found):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # it says so for who didn't answer
            return found

        return {self._names.of(each): each.offset for each in self._ask(answer)}

    def ends_now(self, consumer: Consumer, names: Sequence[str], seconds: float) -> Positions:
        """Return the positions of these partitions' ends, as far as they can be had in so many seconds."""
        asked = [self._names.place(name, _LATEST) for name in names]
        try:
            found = consumer.offsets_for_times(asked, timeout=seconds) if asked else []
        except KafkaException:
            return {}
        ends = {self._names.of(each): each.offset for each in found if each.error is None}
        return {name: self._lives.position(name, end) for name, end in ends.items() if end >= 0}

    def committed(self, consumer: Consumer, names: Sequence[str]) -> dict[str, TopicPartition]:
        """Return what the group has committed, of those partitions of which it has."""
        asked = [self._names.place(name) for name in names]
        if not asked:
            return {}
        found = self._ask(lambda seconds: _whole(consumer.committed(asked, timeout=seconds)))
        return {self._names.of(each): each for each in found if each.offset >= 0}

    def found(self, consumer: Consumer, names: Sequence[str], ids: Ids) -> bool:
        """A group that is new begins now: where, is told before it reads.

        Return False if only a member can tell.
        """
        group = self.committed(consumer, names)
        self._known = bool(group)
        told = {topic: its.id for topic, its in ids.items()}
        self.begun |= {
            name: self._lives.position(name, place.offset)
            for name, place in group.items()
            if mark_of(place) in (None, told.get(place.topic))
        }
        unknown = [name for name in names if name not in group]
        if not unknown:
            return True
        if self._start == "earliest":
            new = self._at(consumer, unknown, _EARLIEST)
            self._first |= {name: self._lives.position(name, at) for name, at in new.items()}
        else:
            new = self._new(consumer, unknown)
        self.begun |= {name: self._lives.position(name, at) for name, at in new.items()}
        places = [
            marked(self._names.place(name), at, told.get(self._names.topic(name))) for name, at in new.items()
        ]
        if not places:
            return True
        refused = False

        def commit(seconds: float) -> list[TopicPartition]:
            nonlocal refused
            try:
                return consumer.commit(offsets=places, asynchronous=False) or []
            except KafkaException as error:
                inner = error_of(error)
                if inner is not None and inner.code() == KafkaError.UNKNOWN_MEMBER_ID:
                    refused = True  # the group has members already
                    return []
                raise

        self._ask(commit)
        # Members that read this topic have told where it begins; the group's others haven't.
        return not refused or self._start == "earliest" or bool(self.committed(consumer, unknown))

    def of(
        self,
        consumer: Consumer,
        names: Sequence[str],
        group: Mapping[str, int],
        delivered: Mapping[str, int],
        anew: Collection[str],
    ) -> tuple[Positions, Positions]:
        """Return where each of the partitions begins, and which of these positions the group doesn't know yet.

        ``delivered`` is what the pipeline has had of them in this run: it isn't read again. ``anew`` are those of
        topics that were made anew.
        """
        lives = self._lives
        starts: Positions = {}
        unknown: list[str] = []
        for name in names:
            known = (
                {self.sought.pop(name)}
                if name in self.sought
                else {delivered.get(name, -1), group.get(name, -1)}
            )
            known = {position for position in known if lives.present(name, position)}
            if known:
                starts[name] = max(known)
            elif name not in anew:
                unknown.append(name)
        new = {name: lives.position(name, at) for name, at in self._new(consumer, unknown).items()}
        if not self._group:
            self.begun |= new
        new |= self.anew(consumer, [name for name in anew if name not in starts])
        for name in (*unknown, *anew):
            starts.setdefault(name, new.get(name, OFFSET_BEGINNING))
        for name, at in starts.items():
            if at == OFFSET_BEGINNING:
                self._first[name] = at
            elif self._first.get(name, at) != at:
                del self._first[name]
        if self._group:
            self.begun |= starts
        return starts, new

    def keep(self, names: Collection[str]) -> None:
        """A member of a group has these: others tell where the rest goes on."""
        for name in {*self.begun}.difference(names):
            self.begun.pop(name, None)

    def gone(self, name: str, delivered: int, known: int) -> None:
        """A partition goes, of which the group knows more than was read here: should it come back, it goes on."""
        at = max(delivered, self.begun.get(name, -1))
        if 0 <= at < known:
            self.sought[name] = at

    def _new(self, consumer: Consumer, names: Sequence[str]) -> Positions:
        """Return the offsets at which these begin of which nothing is known, if it isn't their beginning."""
        if isinstance(self._start, datetime) and names:
            return self._since(consumer, names, self._start)
        if self._start == "latest" and not self._known:
            # What was made after opening is read from its beginning: nobody has passed over it.
            return {name: self.ends[name] for name in names if name in self.ends}
        return {}

    def _since(self, consumer: Consumer, names: Sequence[str], start: datetime) -> Positions:
        # What comes between the two questions is behind the end that was told first.
        ends = self._at(consumer, names, _LATEST)
        new = self._at(consumer, names, max(microseconds(start, "start") // 1000, 0))
        return {name: ends[name] if at < 0 else at for name, at in new.items()}

    def anew(self, consumer: Consumer, names: Sequence[str]) -> Positions:
        """Return where these begin, of topics that were made anew; without those that can't be found out soon."""
        for name in names:
            self.sought.pop(name, None)
        if isinstance(self._start, datetime) and names:
            new = self._since(consumer, names, self._start)
        else:
            new = self._beginnings(consumer, names)
        found = {name: self._lives.position(name, at) for name, at in new.items()}
        self.begun |= found
        return found

    def _beginnings(self, consumer: Consumer, names: Sequence[str]) -> Positions:
        found: Positions = {}
        until = time.monotonic() + _SOON
        while (missing := [name for name in names if name not in found]) and time.monotonic() < until:
            asked = [self._names.place(name, _EARLIEST) for name in missing]
            try:
                told = consumer.offsets_for_times(asked, timeout=until - time.monotonic())
            except KafkaException:
                continue
            found |= {
                self._names.of(each): each.offset for each in told if each.error is None and each.offset >= 0
            }
            time.sleep(_TICK)
        return found


def _whole(found: list[TopicPartition]) -> list[TopicPartition]:
    """Raise the error of one partition."""
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found
