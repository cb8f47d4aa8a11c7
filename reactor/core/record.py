"""A record: an event as it came from a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec

T_co = TypeVar("T_co", covariant=True)

NO_HEADERS: Mapping[str, str] = {}


class Record(msgspec.Struct, Generic[T_co], frozen=True):
    """An event as it came from a source.

    ``time`` is integer microseconds since the epoch, ``position`` whatever the source's
    ``seek`` takes to read this record again (for logs: an offset). ``raw`` holds the bytes
    before decoding where the source had any, so that a dead letter can keep them. ``place`` is where the broker
    keeps it (``"3@4711"``: offset 4711 of partition 3), where the position is only this source's own count.
    ``part`` is the partition that it came from, of a source that is ``partitioned``.
    """

    value: T_co
    key: str | None = None
    headers: Mapping[str, str] = NO_HEADERS
    time: int | None = None
    position: int | None = None
    topic: str | None = None
    raw: bytes | None = None
    place: str | None = None
    part: str | None = None


class Records(Sequence[Record[T_co]]):
    """Records of which the values are there; ``make(number)`` makes the rest once somebody looks at one.

    For a source whose messages are cheaper to decode than to describe. A record is made once.
    """

    __slots__ = ("_made", "_make", "values")

    def __init__(self, values: Sequence[T_co], make: Callable[[int], Record[T_co]]) -> None:
        self.values = values
        self._make = make
        self._made: dict[int, Record[Any]] = {}

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> Record[T_co]: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record[T_co]]: ...
    def __getitem__(self, at: int | slice) -> Record[T_co] | list[Record[T_co]]:
        there = range(len(self.values))[at]
        return self._record(there) if isinstance(there, int) else [self._record(number) for number in there]

    def __iter__(self) -> Iterator[Record[T_co]]:
        return map(self._record, range(len(self.values)))

    def _record(self, number: int) -> Record[T_co]:
        record = self._made.get(number)
        if record is None:
            record = self._made[number] = self._make(number)
        return record

    def __repr__(self) -> str:
        return f"Records({list(self)!r})"
