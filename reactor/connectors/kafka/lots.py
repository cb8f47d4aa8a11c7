"""What is in messages, in columns, on its way from the consumer's thread to the task that reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from reactor.connectors.brokers.wire import Told

LIFE = 1 << 48
"""More than a partition has offsets: positions in a topic that was made anew are so much greater, each time."""

Headers = Mapping[str, bytes | None]


class Lot(NamedTuple):
    """Messages in the order in which they came. No column holds what the garbage collector has to walk."""

    parts: list[str]
    afters: list[int]
    """The positions behind them."""
    types: list[str]
    versions: list[str | None]
    datas: list[bytes]
    keys: list[bytes | None]
    stamps: list[int]
    """The broker's times, in milliseconds."""
    headers: list[Headers | Told]
    """As they came, or taken apart where that was needed."""
    topics: list[str]
    """Empty where one topic is read."""

    def add(self, other: Lot) -> None:
        mine: list[list[Any]] = [*self]
        its: list[list[Any]] = [*other]
        for column, more in zip(mine, its, strict=True):
            column.extend(more)

    def cut(self, at: int) -> Lot:
        """Keep the first ``at`` messages, and return the others."""
        columns: list[list[Any]] = [*self]
        rest = Lot(*(column[at:] for column in columns))
        for column in columns:
            del column[at:]
        return rest

    def without(self, names: Collection[str]) -> Lot:
        """Return those that aren't of these partitions."""
        return self.at([at for at, name in enumerate(self.parts) if name not in names])

    def at(self, kept: Sequence[int]) -> Lot:
        """Return those that stand there."""
        columns: list[list[Any]] = [*self]
        return Lot(*([column[at] for at in kept] if column else [] for column in columns))


def nothing() -> Lot:
    return Lot([], [], [], [], [], [], [], [], [])
