"""Where a partition is read from, when it comes to a consumer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from reactor.connectors.codec import microseconds
from reactor.connectors.kafka.cluster import error_of
from reactor.connectors.kafka.names import Names
from reactor.connectors.kafka.shelf import Positions
from reactor.connectors.log import From

Ask = Callable[[Callable[[float], list[TopicPartition]]], list[TopicPartition]]
"""Calls until the broker has answered."""

_LATEST, _EARLIEST = -1, -2
"""As times they ask for the end, and for the beginning."""


class Starts:
    """The first positions of one opening's partitions."""

    def __init__(self, names: Names, start: From, ask: Ask) -> None:
        self._names = names
        self._start = start
        self._ask = ask
        self._known = False
        """True for a group that has read before: what it knows nothing of was made since."""
        self.ends: Positions = {}
        """Where each partition ended as of opening; only where somebody has to know."""
        self.sought: Positions = {}
        """Positions of a checkpoint: they count once, and more than the group's."""
        self.begun: Positions = {}
        """Of partitions that began at their end, or at a time: where."""

    def seek(self, positions: Mapping[str, int]) -> None:
        self.sought.update(positions)
        self._known = self._known or bool(positions)

    def forget(self, names: Collection[str]) -> None:
        """These were deleted, and are others now, under the same names."""
        for name in names:
            for positions in (self.ends, self.sought, self.begun):
                positions.pop(name, None)

    def look(self, consumer: Consumer, names: Sequence[str]) -> None:
        """Take down where the partitions end now."""
        self.ends.update(self._at(consumer, names, _LATEST))

    def _at(self, consumer: Consumer, names: Sequence[str], time: int) -> Positions:
        asked = [self._names.place(name, time) for name in names]
        if not asked:
            return {}

        def answer(seconds: float) -> list[TopicPartition]:
            found = _whole(consumer.offsets_for_times(asked, timeout=seconds))
            if time < 0 and any(each.offset < 0 for each in found):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # it says so for who didn't answer
            return found

        return {self._names.of(each): each.offset for each in self._ask(answer)}

    def ends_now(self, consumer: Consumer, names: Sequence[str], seconds: float) -> Positions:
        """Return where these partitions end, as far as that can be had in so many seconds."""
        asked = [self._names.place(name, _LATEST) for name in names]
        try:
            found = consumer.offsets_for_times(asked, timeout=seconds) if asked else []
        except KafkaException:
            return {}
        return {
            self._names.of(each): each.offset for each in found if each.error is None and each.offset >= 0
        }

    def committed(self, consumer: Consumer, names: Sequence[str]) -> Positions:
        """Return the group's positions, of those partitions that have one."""
        asked = [self._names.place(name) for name in names]
        if not asked:
            return {}
        found = self._ask(lambda seconds: _whole(consumer.committed(asked, timeout=seconds)))
        return {self._names.of(each): each.offset for each in found if each.offset >= 0}

    def found(self, consumer: Consumer, names: Sequence[str]) -> None:
        """A group that is new begins now: where, is told before it reads."""
        group = self.committed(consumer, names)
        self._known = bool(group)
        unknown = [name for name in names if name not in group]
        if not unknown:
            return
        if self._start == "earliest":
            new = self._at(consumer, unknown, _EARLIEST)
        else:
            _, new = self.of(consumer, unknown, group, {})
        places = [self._names.place(name, at) for name, at in new.items()]
        if not places:
            return

        def told(seconds: float) -> list[TopicPartition]:
            try:
                return consumer.commit(offsets=places, asynchronous=False) or []
            except KafkaException as error:
                inner = error_of(error)
                if inner is not None and inner.code() == KafkaError.UNKNOWN_MEMBER_ID:
                    return []  # the group has members already: they have told where it begins
                raise

        self._ask(told)

    def of(
        self, consumer: Consumer, names: Sequence[str], group: Mapping[str, int], delivered: Mapping[str, int]
    ) -> tuple[Positions, Positions]:
        """Return where each of the partitions begins, and which of these positions the group doesn't know yet.

        ``delivered`` is what the pipeline has had of them in this run: it isn't read again.
        """
        starts: Positions = {}
        new: Positions = {}
        unknown: list[str] = []
        for name in names:
            if (sought := self.sought.pop(name, None)) is not None:
                starts[name] = sought
            elif name in delivered or name in group:
                starts[name] = max(delivered.get(name, 0), group.get(name, 0))
            else:
                unknown.append(name)
        if isinstance(self._start, datetime) and unknown:
            milliseconds = microseconds(self._start, "start") // 1000
            new = self._at(consumer, unknown, max(milliseconds, 0))
            if later := [name for name in unknown if new[name] < 0]:  # there is nothing as late as that
                new |= self._at(consumer, later, _LATEST)
        elif self._start == "latest" and not self._known:
            # What was made after opening is read from its beginning: nobody has passed over it.
            new = {name: self.ends[name] for name in unknown if name in self.ends}
        self.begun |= new
        starts |= {name: new.get(name, OFFSET_BEGINNING) for name in unknown}
        return starts, new


def _whole(found: list[TopicPartition]) -> list[TopicPartition]:
    """Raise the error of one partition."""
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found
