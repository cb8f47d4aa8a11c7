"""Two streams joined by key: within an interval, or with the newest of a table."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from reactor.core import GONE
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import Joined, Windowed
from reactor.windows.kernel import NEVER, Kernel

How = Literal["inner", "left", "outer"]

Tagged = tuple[int, Any, Any]
"""Side (0: left, 1: right), key, event."""


class Sides(Aggregate[Tagged, tuple[list[Any], list[Any]]]):
    """The events of both sides of a window."""

    def zero(self) -> tuple[list[Any], list[Any]]:
        return [], []

    def add(self, state: tuple[list[Any], list[Any]], event: Tagged) -> tuple[list[Any], list[Any]]:
        state[event[0]].append(event[2])
        return state

    def merge(self, a: Any, b: Any) -> tuple[list[Any], list[Any]]:
        return a[0] + b[0], a[1] + b[1]

    def result(self, state: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
        return state[0], state[1]


def pairs(found: Windowed[Any, tuple[list[Any], list[Any]]], how: How) -> Iterator[Windowed[Any, Any]]:
    """Yield each pair of a window's events; those of a side that found nothing with None, as ``how`` says."""
    lefts, rights = found.value
    if how != "inner" and not rights:
        rights = [None]
    if how == "outer" and not lefts:
        lefts = [None]
    for left in lefts:
        for right in rights:
            yield Windowed(found.key, found.window, (left, right), found.time)


class _Waiting:
    """An event that may still find others."""

    __slots__ = ("event", "matched", "number", "time")

    def __init__(self, time: int, number: int, event: Any) -> None:
        self.time = time
        self.number = number
        self.event = event
        self.matched = False


def _time(waiting: _Waiting) -> int:
    return waiting.time


class Intervals(Kernel):
    """The right event's time is at least left's - ``before`` and at most left's + ``after`` (microseconds).

    An event is kept until the watermark says that nothing more can match it. One that comes behind the watermark
    is late (Flink's rule).
    """

    def __init__(self, before: int, after: int, how: How) -> None:
        self.before, self.after, self.how = before, after, how
        # For each side: how far back and ahead of an event's time the other's may be.
        self._reach = ((before, after), (after, before))
        self._alone = (how != "inner", how == "outer")
        self._sides: tuple[dict[Any, list[_Waiting]], dict[Any, list[_Waiting]]] = ({}, {})
        self._ends: list[tuple[int, int, int, Any, _Waiting]] = []
        self._count = 0
        self._saved: dict[int, tuple[int, Any, _Waiting]] = {}
        """All events that wait, by their number; only where somebody saves."""

    def add(self, key: Any, event: Tagged, time: int, watermark: int) -> Iterable[Any] | None:
        side = event[0]
        if time < watermark:
            self.late += 1
            return None
        back, ahead = self._reach[side]
        mine = _Waiting(time, self._count, event[2])
        self._count += 1
        out = []
        others = self._sides[1 - side].get(key, ())
        for other in others[
            bisect_left(others, time - back, key=_time) : bisect_right(others, time + ahead, key=_time)
        ]:
            mine.matched = other.matched = True
            if self.changed is not None:
                self.changed[other.number] = None
            left, right = (other, mine) if side else (mine, other)
            out.append(Joined(key, left.event, right.event, max(time, other.time)))
        if self.changed is not None:
            self.changed[mine.number] = None
        self._wait(side, key, mine)
        return out

    def _wait(self, side: int, key: Any, mine: _Waiting) -> None:
        ahead = self._reach[side][1]
        insort(self._sides[side].setdefault(key, []), mine, key=_time)
        heapq.heappush(self._ends, (mine.time + ahead + 1, mine.number, side, key, mine))
        self.due = self._ends[0][0]
        if self.changed is not None:
            self._saved[mine.number] = side, key, mine

    def fire(self, watermark: int) -> Iterator[Any]:
        ends = self._ends
        while ends and ends[0][0] <= watermark:
            end, _, side, key, gone = heapq.heappop(ends)
            waiting = self._sides[side][key]
            waiting.remove(gone)
            if self.changed is not None:
                self.changed[gone.number] = None
                del self._saved[gone.number]
            if not waiting:
                del self._sides[side][key]
            if not gone.matched and self._alone[side]:
                left, right = (None, gone.event) if side else (gone.event, None)
                yield Joined(key, left, right, end - 1)
        self.due = ends[0][0] if ends else NEVER

    # Saved: a row for each event that waits

    def row(self, key: Any) -> Any:
        found = self._saved.get(key)
        if found is None:
            return GONE
        side, of, waiting = found
        return side, of, waiting.time, waiting.event, waiting.matched

    def own(self) -> Any:
        return self._count

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._count = own
        for number, (side, key, time, event, matched) in sorted(rows, key=_first):
            waiting = _Waiting(time, number, event)
            waiting.matched = matched
            self._wait(side, key, waiting)

    def get(self, key: Any) -> Any:
        left, right = ([each.event for each in side.get(key, ())] for side in self._sides)
        return (left, right) if left or right else None

    @property
    def open(self) -> int:
        return len(self._ends)


class Table(Kernel):
    """Each left event with the newest right one of its key: as of its own time, where there are event times.

    With event times a left event waits until the watermark says that nothing older than it can come; of the
    table, the newest version of each key before the watermark is kept, and all after it.
    """

    lasting = True

    def __init__(self, how: How, timed: bool) -> None:
        self.how = how
        self._inner = how == "inner"
        self._timed = timed
        self._versions: dict[Any, list[tuple[int, Any]]] = {}
        self._lefts: list[tuple[int, int, Any, Any]] = []
        self._count = 0
        self._saved: dict[int, tuple[int, Any, Any]] = {}
        """The events that wait, by their number; only where somebody saves."""

    def add(self, key: Any, event: Tagged, time: int, watermark: int) -> Iterable[Any] | None:
        if event[0]:
            versions = self._versions.setdefault(key, [])
            if not self._timed:
                versions.clear()
            versions.insert(bisect_right(versions, time, key=_first), (time, event[2]))
            del versions[: max(0, bisect_left(versions, watermark, key=_first) - 1)]
            if self.changed is not None:
                self.changed["version", key] = None
            return ()
        if self._timed and time >= watermark:
            heapq.heappush(self._lefts, (time, self._count, key, event[2]))
            if self.changed is not None:
                self.changed["left", self._count] = None
                self._saved[self._count] = time, key, event[2]
            self._count += 1
            self.due = self._lefts[0][0] + 1
            return ()
        return self._joined(key, event[2], time)

    def _joined(self, key: Any, left: Any, time: int) -> list[Any]:
        versions = self._versions.get(key, ())
        at = bisect_right(versions, time, key=_first)
        if not at and self._inner:
            return []
        return [Joined(key, left, versions[at - 1][1] if at else None, time)]

    def fire(self, watermark: int) -> Iterator[Any]:
        lefts = self._lefts
        while lefts and lefts[0][0] < watermark:
            time, number, key, left = heapq.heappop(lefts)
            if self.changed is not None:
                self.changed["left", number] = None
                del self._saved[number]
            yield from self._joined(key, left, time)
        self.due = lefts[0][0] + 1 if lefts else NEVER

    # Saved: a row for each version of the table's keys, and for each event that waits

    def row(self, key: Any) -> Any:
        kind, which = key
        if kind == "version":
            return list(self._versions[which])
        return self._saved.get(which, GONE)

    def own(self) -> Any:
        return self._count

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._count = own
        for (kind, which), value in rows:
            if kind == "version":
                self._versions[which] = list(value)
            else:
                time, key, left = self._saved[which] = value
                heapq.heappush(self._lefts, (time, which, key, left))
        self.due = self._lefts[0][0] + 1 if self._lefts else NEVER

    def get(self, key: Any) -> Any:
        versions = self._versions.get(key)
        return versions[-1][1] if versions else None

    @property
    def open(self) -> int:
        return len(self._lefts) + len(self._versions)


def _first(version: tuple[Any, Any]) -> Any:
    return version[0]
