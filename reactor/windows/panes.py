"""Tumbling and sliding windows of aggregates that can be merged: each event goes into one pane.

A sliding window is several panes, and neighbouring windows share them. Per key two stacks of partial results
(the older panes merged from the back, the newer ones from the front) give each window's value with a constant
number of merges, however many panes it has.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from reactor.core import GONE, Copied, Saved
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import Window, Windowed
from reactor.windows.kernel import NEVER, Kernel
from reactor.windows.times import BEGINNING, whole

_EMPTY: dict[Any, Any] = {}

COPIED = 1 << 16
"""More rows than this aren't copied when a barrier passes."""


Pane = dict[Any, Any]
"""The states of one pane by key. A dict and nothing more: with keys and states that refer to nothing, numbers and
texts, the garbage collector doesn't look at it, which takes 30 ms where there are a million."""


class Panes(Kernel):
    """``size``, ``every``, ``offset`` and ``lateness`` are microseconds."""

    def __init__(
        self,
        size: int,
        every: int,
        offset: int,
        lateness: int,
        aggregate: Aggregate[Any, Any],
        accumulating: bool = True,
    ) -> None:
        self.size = size
        self.every = every
        self.offset = offset % every
        self.lateness = lateness
        self.aggregate = aggregate
        self.accumulating = accumulating
        self.width = math.gcd(size, every)
        self.due = NEVER
        self.lo = self.hi = 0
        """The pane that ``pane`` has returned last."""
        self._panes: dict[int, Pane] = {}
        self._starts: list[int] = []
        self._fired = BEGINNING
        """All windows up to this end have fired."""
        self._running = _Running(aggregate) if self.width < size else None
        self.noting = not aggregate.functional
        """True where each change is noted in ``changed``; else a barrier takes a copy: what differs is found."""
        self._copied: dict[int, dict[Any, Any]] = {}
        """The copy that the last barrier took."""
        self._unnoted: deque[tuple[int, Iterator[Any], int]] = deque()
        """Panes whose rows are still to be noted: start, keys, how many are left."""
        self._gone: list[tuple[int, Pane]] = []
        """Panes that are no more, since the last barrier: with too many rows to note, or let go of, them here."""

    # Rows ---------------------------------------------------------------------------------------------------

    def pane(self, time: int, watermark: int) -> Pane | None:
        """Return the states by key that the time belongs to; None if a window with it has fired: see ``add``."""
        start = time - (whole(time) - self.offset) % self.width
        watermark = max(watermark, self._fired)  # it never falls
        if watermark >= (first := self._first_end(start)):
            self.lo = self.hi = 0
            return None
        self.lo, self.hi = start, start + self.width
        return self._open(start, first)

    @property
    def layout(self) -> str:
        return f"panes of {self.size} every {self.every} from {self.offset}, {self.aggregate}"

    def add(self, key: Any, event: Any, time: int, watermark: int) -> Iterable[Any] | None:
        """Take an event that is behind the watermark with some of its windows."""
        aggregate = self.aggregate
        watermark = max(watermark, self._fired)
        start = time - (whole(time) - self.offset) % self.width
        first, last = self._first_end(start), self._last_end(start)
        if watermark < first:
            states = self._open(start, first)
            states[key] = aggregate.add(states[key] if key in states else aggregate.zero(), event)
            if self.changed is not None:
                self.changed[start, key] = None
            return ()
        if watermark >= last + self.lateness:
            self.late += 1
            return None
        self._passed(watermark)
        pane = self._open(start, NEVER)
        pane[key] = aggregate.add(pane[key] if key in pane else aggregate.zero(), event)
        if self.changed is not None:
            self.changed[start, key] = None
        if self._running is not None:
            self._running.stale = True
        again = []
        for end in range(first, last + 1, self.every):
            if end > watermark:
                self.due = min(self.due, end)
                break
            if end + self.lateness > watermark:
                alone = [] if self.accumulating else [aggregate.add(aggregate.zero(), event)]
                again.append(self._result(key, end, alone or self._parts(key, end)))
        self.due = min(self.due, last + self.lateness)
        return again

    def _open(self, start: int, first: int) -> Pane:
        pane = self._panes.get(start)
        if pane is None:
            pane = self._panes[start] = {}
            insort(self._starts, start)
            if first < self.due:
                self.due = first
        return pane

    def _parts(self, key: Any, end: int) -> list[Any]:
        panes = (self._panes.get(start) for start in range(end - self.size, end, self.width))
        return [pane[key] for pane in panes if pane is not None and key in pane]

    def _result(self, key: Any, end: int, parts: list[Any]) -> Windowed[Any, Any]:
        state = parts[0]
        for part in parts[1:]:
            state = self.aggregate.merge(state, part)
        window = Window(end - self.size, end)
        return Windowed(key, window, self.value(self.aggregate, key, window, state), end - 1)

    # The watermark ------------------------------------------------------------------------------------------

    def fire(self, watermark: int) -> Iterator[Any]:
        value, aggregate = self.value, self.aggregate
        while (end := self._next_end()) <= watermark:
            window, time = Window(end - self.size, end), end - 1
            if self._running is None:
                states = self._panes[end - self.size]
                for key, state in states.items():
                    yield Windowed(key, window, value(aggregate, key, window, state), time)
            else:
                panes = self._panes, self._starts
                for key, state in self._running.window(end - self.size, end, *panes):
                    yield Windowed(key, window, value(aggregate, key, window, state), time)
            self._fired = end
            self._forget(end)
        self._passed(watermark)
        self._forget(watermark)
        gone = self._last_end(self._starts[0]) + self.lateness if self._starts else NEVER
        self.due = min(self._next_end(), gone)

    def _passed(self, watermark: int) -> None:
        """Windows without events count as fired too: an event that comes late fires them itself."""
        self._fired = max(self._fired, watermark - (watermark - self.offset - self.size) % self.every)

    def _forget(self, watermark: int) -> None:
        starts = self._starts
        n = 0
        while n < len(starts) and self._last_end(starts[n]) + self.lateness <= watermark:
            gone = self._panes.pop(starts[n])
            if self.changed is not None and self.noting:
                self._gone.append((starts[n], gone))
            n += 1
        del starts[:n]

    def _next_end(self) -> int:
        """The end of the first window with events that hasn't fired."""
        at = bisect_left(self._starts, self._fired - self.size + self.every)
        if at == len(self._starts):
            return NEVER
        return max(self._first_end(self._starts[at]), self._fired + self.every)

    def _first_end(self, start: int) -> int:
        """The end of the first window that contains the pane."""
        begin = start - self.size + self.width
        return begin + (self.offset - begin) % self.every + self.size

    def _last_end(self, start: int) -> int:
        return start - (start - self.offset) % self.every + self.size

    # Saved: a row for each pane and key ------------------------------------------------------------------------

    @property
    def noted(self) -> int:
        return super().noted + sum(left for _, _, left in self._unnoted)

    def _note(self, most: int) -> None:
        """Note up to ``most`` rows of panes that weren't noted as they changed."""
        changed, unnoted = self.changed, self._unnoted
        assert changed is not None
        while most > 0 and unnoted:
            start, keys, left = unnoted[0]
            some = [(start, key) for key in islice(keys, most)]
            changed.update(dict.fromkeys(some))
            if left > len(some) > 0:
                unnoted[0] = start, keys, left - len(some)
            else:
                unnoted.popleft()
            most -= len(some)

    def some(self, most: int) -> dict[Any, Any]:
        self._note(most)
        return super().some(most)

    def saved(self) -> Saved:
        assert self.changed is not None
        gone, self._gone = self._gone, []
        if self.noting and not self._panes:
            self._unnoted.clear()
            self.changed.clear()
            return Saved({}, self.own(), complete=True, gone=gone)
        if self.noting:
            self._note(sys.maxsize)
            saved = super().saved()
            saved.gone = gone
            return saved
        self.changed.clear()
        self._copied = {start: dict(pane) for start, pane in self._panes.items()}
        return Copied(self._copied, self.own())

    def grown(self) -> None:
        """Look between two chunks: copying very many rows would stop the flow, so from now on each is noted."""
        if self.noting or self.changed is None or self.open <= COPIED:
            return
        self.noting = True
        gone = {start: copy for start, copy in self._copied.items() if start not in self._panes}
        for start, rows in (*self._panes.items(), *gone.items()):
            self._unnoted.append((start, iter(list(rows)), len(rows)))
        self._copied = {}

    def row(self, key: Any) -> Any:
        start, of = key
        return self._panes.get(start, _EMPTY).get(of, GONE)

    def own(self) -> Any:
        return self._fired

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._fired = own
        for (start, key), state in rows:
            self._open(start, NEVER)[key] = state
        gone = self._last_end(self._starts[0]) + self.lateness if self._starts else NEVER
        self.due = min(self._next_end(), gone)

    def get(self, key: Any) -> Any:
        ends = {
            end
            for start in self._starts
            for end in range(self._first_end(start), self._last_end(start) + 1, self.every)
        }
        found = {
            Window(end - self.size, end): self._result(key, end, parts).value
            for end in sorted(ends)
            if (parts := self._parts(key, end))
        }
        return found or None

    @property
    def open(self) -> int:
        return sum(map(len, self._panes.values()))


class _Running:
    """The panes of the present sliding window, by key: moves on from window to window."""

    def __init__(self, aggregate: Aggregate[Any, Any]) -> None:
        self._merge = aggregate.merge
        self._keys: dict[Any, _Stacks] = {}
        self._upto = BEGINNING
        self.stale = False
        """True when a pane that is in here has changed."""

    def window(
        self, start: int, end: int, panes: dict[int, Pane], starts: list[int]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each key with the state of the window; windows are asked for in their order."""
        keys, merge = self._keys, self._merge
        if self.stale or start >= self._upto:
            keys.clear()
            self.stale = False
            self._upto = start
        for at in range(bisect_left(starts, self._upto), bisect_left(starts, end)):
            for key, state in panes[starts[at]].items():
                stacks = keys.get(key)
                if stacks is None:
                    stacks = keys[key] = _Stacks()
                stacks.push(starts[at], state, merge)
        self._upto = end
        gone = []
        for key, stacks in keys.items():
            if stacks.drop(start, merge):
                yield key, stacks.value(merge)
            else:
                gone.append(key)
        for key in gone:
            del keys[key]


class _Stacks:
    """A queue of one key's panes that knows what all of them come to: two stacks of partial results."""

    __slots__ = ("back", "back_value", "front")

    def __init__(self) -> None:
        self.front: list[tuple[int, Any]] = []
        """The oldest last; each with its value merged with all that are newer in here."""
        self.back: list[tuple[int, Any]] = []
        self.back_value: Any = None

    def push(self, start: int, state: Any, merge: Any) -> None:
        self.back_value = merge(self.back_value, state) if self.back else state
        self.back.append((start, state))

    def drop(self, before: int, merge: Any) -> bool:
        """Drop what is older; False when nothing is left."""
        front = self.front
        while front and front[-1][0] < before:
            front.pop()
        if not front and self.back and self.back[0][0] < before:
            value = None
            for start, state in reversed(self.back):
                if start < before:
                    break
                value = merge(state, value) if front else state
                front.append((start, value))
            self.back.clear()
        return bool(front or self.back)

    def value(self, merge: Any) -> Any:
        if not self.front:
            return self.back_value
        return merge(self.front[-1][1], self.back_value) if self.back else self.front[-1][1]
