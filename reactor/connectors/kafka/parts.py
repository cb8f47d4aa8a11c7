"""Which partitions there are, and which have nothing to give: for who waits for the slowest of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import Consumer

from reactor.connectors.kafka.shelf import Positions, Shelf
from reactor.connectors.kafka.starts import Starts

_ANSWER = 0.8
"""Seconds in which brokers have to say where partitions end."""


class Parts:
    """Of one reader. On its thread, but for ``there``."""

    def __init__(self, shelf: Shelf, starts: Starts, owned: Mapping[str, int], done: Collection[str]) -> None:
        self.ends: Positions = {}
        """Where partitions were read to their end."""
        self._asked: Positions = {}
        """Where they ended when it was asked last."""
        self._over: frozenset[str] = frozenset()
        self._shelf = shelf
        self._starts = starts
        self._owned = owned
        self._done = done

    def there(self) -> Collection[str]:
        """Return those of which more may come."""
        over, shelf = self._over, self._shelf
        return [name for name in tuple(self._owned) if name not in over or shelf.open(name)]

    def came(self, names: Collection[str]) -> None:
        """These are read from another place on."""
        for name in names:
            self.ends.pop(name, None)
            self._asked.pop(name, None)

    def look(self) -> None:
        """Partitions may have been read to their end as of opening: their last messages are on the shelf."""
        over = frozenset(self._done)
        if over != self._over:
            self._over = over
            self._shelf.turn()

    def answer(self, consumer: Consumer | None) -> None:
        """Say which partitions are quiet, if somebody has asked."""
        with self._shelf.changed:
            question, self._shelf.question = self._shelf.question, None
        if question is None or question[1].abandoned:
            return
        names, waiter = question
        waiter.succeed(() if consumer is None else self._quiet(consumer, names))

    def _quiet(self, consumer: Consumer, names: Collection[str]) -> Collection[str]:
        before = self._asked
        owned = [name for name in names if name in self._owned]
        self._asked = self._starts.ends_now(consumer, owned, _ANSWER)
        found: list[str] = []
        for name, end in self._asked.items():
            came = self._shelf.delivered.get(name, -1)
            if not self._shelf.open(name):  # what isn't a message (a transaction's end) is passed over, too
                came = max(came, self.ends.get(name, -1))
            if came >= min(end, before.get(name, end)):
                found.append(name)
        return found
