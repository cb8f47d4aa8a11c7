"""Windows that keep a state for each key: for folds that can't be merged, early results, and the global window."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from reactor.core import GONE
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import EVERYTHING, Window, Windowed
from reactor.windows.kernel import NEVER, Kernel
from reactor.windows.times import BEGINNING, END_OF_TIME, known, whole


class _Open:
    """One window: the state of each key, and which keys have news."""

    __slots__ = ("fired", "fresh", "states")

    def __init__(self, fired: bool) -> None:
        self.fired = fired
        self.states: dict[Any, Any] = {}
        self.fresh: dict[Any, int] = {}
        """How many events have come since the key's last result."""


class States(Kernel):
    """``size`` and ``every`` are None for the global window; all are microseconds."""

    def __init__(
        self,
        size: int | None,
        every: int | None,
        offset: int,
        lateness: int,
        aggregate: Aggregate[Any, Any],
        accumulating: bool = True,
        early_events: int | None = None,
        early_time: int | None = None,
    ) -> None:
        self.size = size
        self.every = every or 1
        self.offset = offset
        self.lateness = lateness
        self.aggregate = aggregate
        self.accumulating = accumulating
        self.early_events = early_events
        self.early_time = early_time
        self._windows: dict[Window, _Open] = {}
        self._moments: list[tuple[int, Window]] = []
        """For each window, when it fires; once it has, when it is gone."""
        self._latest = BEGINNING
        """The highest time seen: the event time of the global window's results."""

    @property
    def layout(self) -> str:
        return f"states of {self.size} every {self.every} from {self.offset}, {self.aggregate}"

    def add(self, key: Any, event: Any, time: int, watermark: int) -> Iterable[Any] | None:
        aggregate = self.aggregate
        self._latest = max(self._latest, time)
        out: list[Any] = []
        taken = False
        for window in self._windows_of(time):
            gone = min(window.end + self.lateness, END_OF_TIME)
            if gone <= watermark:
                continue
            taken = True
            opened = self._windows.get(window)
            if opened is None:
                fired = window.end <= watermark  # it had no events until now
                opened = self._windows[window] = _Open(fired)
                heapq.heappush(self._moments, (gone if fired else window.end, window))
            states = opened.states
            states[key] = aggregate.add(states[key] if key in states else aggregate.zero(), event)
            opened.fresh[key] = opened.fresh.get(key, 0) + 1
            if self.changed is not None:
                self.changed[window, key] = None
            if window.end <= watermark or opened.fresh[key] == self.early_events:
                out.append(self._result(key, window, opened))
            elif self.early_time is not None and self.clock_due == NEVER:
                self.clock_due = self.now + self.early_time
        if not taken:
            self.late += 1
            return None
        self.due = self._moments[0][0]
        return out

    def _windows_of(self, time: int) -> Iterable[Window]:
        if self.size is None:
            return (EVERYTHING,)
        last = time - (whole(time) - self.offset) % self.every
        starts = range(last, time - self.size, -self.every)
        return [Window(start, start + self.size) for start in reversed(starts)]

    def _result(self, key: Any, window: Window, opened: _Open) -> Any:
        opened.fresh.pop(key, None)
        if self.changed is not None:
            self.changed[window, key] = None
        state = opened.states[key] if self.accumulating else opened.states.pop(key)
        time = window.end - 1 if self.size is not None else known(self._latest)
        return Windowed(key, window, self.value(self.aggregate, key, window, state), time)

    def fire(self, watermark: int) -> Iterator[Any]:
        moments = self._moments
        while moments and moments[0][0] <= watermark:
            _, window = heapq.heappop(moments)
            opened = self._windows[window]
            if not opened.fired:
                opened.fired = True
                for key in list(opened.states):
                    yield self._result(key, window, opened)
            gone = min(window.end + self.lateness, END_OF_TIME)
            if gone <= watermark:
                del self._windows[window]
                if self.changed is not None:
                    self.changed.update(((window, key), None) for key in opened.states)
            else:
                heapq.heappush(moments, (gone, window))
        self.due = moments[0][0] if moments else NEVER

    def tick(self, now: int) -> Iterator[Any]:
        self.clock_due = NEVER
        for window in sorted(self._windows):
            opened = self._windows[window]
            for key in list(opened.fresh):
                yield self._result(key, window, opened)

    # Saved: a row for each window and key

    def row(self, key: Any) -> Any:
        window, of = key
        opened = self._windows.get(window)
        if opened is None or of not in opened.states:
            return GONE
        return opened.states[of], opened.fresh.get(of, 0)

    def own(self) -> Any:
        windows = [(window, opened.fired) for window, opened in self._windows.items()]
        return self._latest, self.clock_due, windows

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._latest, self.clock_due, windows = own
        for window, fired in windows:
            self._windows[window] = _Open(fired)
            gone = min(window.end + self.lateness, END_OF_TIME)
            heapq.heappush(self._moments, (gone if fired else window.end, window))
        for (window, key), (state, fresh) in rows:
            opened = self._windows[window]
            opened.states[key] = state
            if fresh:
                opened.fresh[key] = fresh
        self.due = self._moments[0][0] if self._moments else NEVER

    def get(self, key: Any) -> Any:
        found = {
            window: self.value(self.aggregate, key, window, opened.states[key])
            for window, opened in sorted(self._windows.items())
            if key in opened.states
        }
        return found or None

    @property
    def open(self) -> int:
        return sum(len(opened.states) for opened in self._windows.values())
