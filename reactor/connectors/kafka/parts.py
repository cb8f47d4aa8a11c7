"""Which partitions there are, and which have nothing to give: for who waits for the slowest of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import Consumer

from reactor.connectors.kafka.shelf import Positions, Shelf
from reactor.connectors.kafka.starts import Starts

_ANSWER = 0.8
"""Seconds in which brokers have to say where partitions end."""


class Parts:
    """Of one reader."""

    def __init__(self, shelf: Shelf, starts: Starts, owned: Mapping[str, int], done: Collection[str]) -> None:
        self.wanted = False
        """True where somebody has asked, and the brokers weren't yet."""
        self.ends: Positions = {}
        """Where partitions were read to their end."""
        self._asked: Positions = {}
        """Where they ended when the brokers were asked last."""
        self._over: frozenset[str] = frozenset()
        self._shelf = shelf
        self._starts = starts
        self._owned = owned
        self._done = done

    # Of the task ----------------------------------------------------------------------------------------------

    def there(self) -> Collection[str]:
        """Return those of which more may come."""
        over, shelf = self._over, self._shelf
        return [name for name in tuple(self._owned) if name not in over or shelf.open(name)]

    def quiet(self, names: Collection[str]) -> Collection[str]:
        """Return of whom all was taken that was there when this was asked before; and ask again."""
        if self.wanted:
            return ()
        asked, self._asked, self.wanted = self._asked, {}, True
        return [name for name in names if name in asked and self._reached(name) >= asked[name]]

    def _reached(self, name: str) -> int:
        taken = self._shelf.delivered.get(name, -1)
        # What isn't a message (a transaction's end) is passed over, too.
        return taken if self._shelf.open(name) else max(taken, self.ends.get(name, -1))

    # Of the thread --------------------------------------------------------------------------------------------

    def ask(self, consumer: Consumer) -> None:
        """Ask the brokers where the partitions end now."""
        self._asked = self._starts.ends_now(consumer, tuple(self._owned), _ANSWER)
        self.wanted = False

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
