"""Messages of a log in columns: what an event needs at once, and the rest of it once somebody asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import overload

from reactor.connectors.brokers.consumer import Delivery


class Columns(Sequence[Delivery]):
    """As a positional consumer may receive them. As a sequence: each Delivery is made when it is asked for."""

    __slots__ = ("_make", "afters", "datas", "parts", "types", "versions")

    def __init__(
        self,
        types: Sequence[str],
        versions: Sequence[str | None],
        datas: Sequence[bytes],
        parts: Sequence[str],
        afters: Sequence[int],
        make: Callable[[int], Delivery],
    ) -> None:
        self.types = types
        self.versions = versions
        """What the header of the version says; None where there is none."""
        self.datas = datas
        self.parts = parts
        self.afters = afters
        """The positions behind the messages."""
        self._make = make

    def __len__(self) -> int:
        return len(self.datas)

    @overload
    def __getitem__(self, at: int) -> Delivery: ...
    @overload
    def __getitem__(self, at: slice) -> list[Delivery]: ...
    def __getitem__(self, at: int | slice) -> Delivery | list[Delivery]:
        there = range(len(self.datas))[at]
        return self._make(there) if isinstance(there, int) else [self._make(number) for number in there]


Token = tuple[str, int]
"""A partition, and the position behind a message of it."""


class Tokens:
    """Of messages of a log, in order. They stand in columns: there may be many."""

    def __init__(self) -> None:
        self._columns: deque[tuple[Sequence[str], Sequence[int]]] = deque()
        self._first = 0
        """So many of the first columns are gone."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Token]:
        every = (zip(parts, afters, strict=True) for parts, afters in self._columns)
        return islice((token for columns in every for token in columns), self._first, None)

    def add(self, parts: Sequence[str], afters: Sequence[int]) -> None:
        if parts:
            self._columns.append((parts, afters))
            self._count += len(parts)

    def folded(self, positions: Mapping[str, int], count: int) -> dict[str, int]:
        """Return positions after the first ``count`` messages."""
        found, skipped = dict(positions), self._first
        for parts, afters in self._columns:
            if count <= 0:
                break
            last = min(skipped + count, len(parts))
            found.update(zip(parts[skipped:last], afters[skipped:last], strict=True))
            count -= last - skipped
            skipped = 0
        return found

    def drop(self, count: int) -> None:
        """Forget the first ``count`` messages."""
        self._count -= count
        self._first += count
        while self._columns and self._first >= len(self._columns[0][0]):
            self._first -= len(self._columns.popleft()[0])
