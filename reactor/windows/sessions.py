"""Sessions: windows that grow and merge as events come."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from reactor.core import GONE
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import Window, Windowed
from reactor.windows.kernel import NEVER, Kernel
from reactor.windows.times import whole


class _Session:
    __slots__ = ("end", "fired", "fresh", "gone", "start", "state")

    def __init__(self, start: int, end: int, state: Any) -> None:
        self.start = start
        self.end = end
        self.state = state
        self.fired = False
        self.fresh = 1
        """How many events have come since its last result."""
        self.gone = False
        """True when it has become part of another one, or has been forgotten."""


class Sessions(Kernel):
    """``gap`` and ``lateness`` are microseconds. A session is [first event, last event + gap).

    Two that touch are one (Flink's rule). An event is late only if the session that it belongs to is.

    Since an event at the very end of a session makes it longer, the session is complete when the watermark is past
    its end, and the end is its event time: results don't depend on the order in which events of one time come.
    """

    def __init__(
        self,
        gap: int,
        lateness: int,
        aggregate: Aggregate[Any, Any],
        accumulating: bool = True,
        early_events: int | None = None,
        early_time: int | None = None,
    ) -> None:
        self.gap = gap
        self.lateness = lateness
        self.aggregate = aggregate
        self.accumulating = accumulating
        self.early_events = early_events
        self.early_time = early_time
        self._keys: dict[Any, list[_Session]] = {}
        """The sessions of each key in the order of time; they don't touch."""
        self._ends: list[tuple[int, int, Any, _Session]] = []
        self._count = 0

    @property
    def layout(self) -> str:
        return f"sessions of {self.gap}, {self.aggregate}"

    def add(self, key: Any, event: Any, time: int, watermark: int) -> Iterable[Any] | None:
        aggregate = self.aggregate
        whole(time)
        sessions = self._keys.get(key, [])
        first = bisect_left(sessions, time, key=_end)
        last = first
        while last < len(sessions) and sessions[last].start <= time + self.gap:
            last += 1
        touched = sessions[first:last]
        start = min(time, touched[0].start) if touched else time
        end = max(time + self.gap, touched[-1].end) if touched else time + self.gap
        if end + self.lateness < watermark:
            self.late += 1
            return None
        if self.changed is not None:
            self.changed[key] = None
        if len(touched) == 1:  # the common case: it grows
            (session,) = touched
            session.state = aggregate.add(session.state, event)
            session.fresh += 1
        else:
            session = _Session(start, end, aggregate.add(aggregate.zero(), event))
            for other in reversed(touched):
                session.state = aggregate.merge(other.state, session.state)
                session.fresh += other.fresh
                other.gone = True
            if key not in self._keys:
                sessions = self._keys[key] = []
            sessions[first:last] = [session]
        if len(touched) != 1 or (session.end != end and session.fired):
            self._awaits(key, session, end + 1)
        if session.end != end:
            session.fired = False
        session.start, session.end = start, end
        early = self.early_events is not None and session.fresh >= self.early_events  # two may have merged
        if end < watermark or early:
            session.fired = end < watermark
            if session.fired:
                self.due = min(self.due, end + 1 + self.lateness)
            return [self._result(key, session)]
        if self.early_time is not None and self.clock_due == NEVER:
            self.clock_due = self.now + self.early_time
        return ()

    def _awaits(self, key: Any, session: _Session, due: int) -> None:
        heapq.heappush(self._ends, (due, self._count, key, session))
        self._count += 1
        self.due = min(self.due, due)

    def _result(self, key: Any, session: _Session) -> Any:
        if self.changed is not None:
            self.changed[key] = None
        window = Window(session.start, session.end)
        value = self.value(self.aggregate, key, window, session.state)
        session.fresh = 0
        if not self.accumulating:
            session.state = self.aggregate.zero()
        return Windowed(key, window, value, session.end)

    def fire(self, watermark: int) -> Iterator[Any]:
        ends = self._ends
        while ends and ends[0][0] <= watermark:
            due, number, key, session = heapq.heappop(ends)
            if session.gone:
                continue  # it has merged: a later entry stands for it
            if due <= session.end:
                heapq.heappush(ends, (session.end + 1, number, key, session))  # it has grown since
                continue
            if not session.fired:
                session.fired = True
                if self.changed is not None:
                    self.changed[key] = None
                if session.fresh or self.accumulating:
                    yield self._result(key, session)
            if session.end + self.lateness < watermark:
                self._forget(key, session)
            else:
                heapq.heappush(ends, (session.end + 1 + self.lateness, number, key, session))
        self.due = ends[0][0] if ends else NEVER

    def _forget(self, key: Any, session: _Session) -> None:
        if self.changed is not None:
            self.changed[key] = None
        session.gone = True  # other entries of the heap may stand for it: it has grown after its first result
        sessions = self._keys[key]
        sessions.remove(session)
        if not sessions:
            del self._keys[key]

    def tick(self, now: int) -> Iterator[Any]:
        self.clock_due = NEVER
        for key, sessions in list(self._keys.items()):
            for session in sessions:
                if session.fresh:
                    yield self._result(key, session)

    # Saved: a row for each key

    def row(self, key: Any) -> Any:
        sessions = self._keys.get(key)
        if sessions is None:
            return GONE
        return [(each.start, each.end, each.state, each.fired, each.fresh) for each in sessions]

    def own(self) -> Any:
        return self.clock_due

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self.clock_due = own
        for key, saved in rows:
            sessions = self._keys[key] = []
            for start, end, state, fired, fresh in saved:
                session = _Session(start, end, state)
                session.fired, session.fresh = fired, fresh
                sessions.append(session)
                self._awaits(key, session, end + 1 + (self.lateness if fired else 0))

    def get(self, key: Any) -> Any:
        found = {
            (window := Window(each.start, each.end)): self.value(self.aggregate, key, window, each.state)
            for each in self._keys.get(key, ())
        }
        return found or None

    @property
    def open(self) -> int:
        return sum(map(len, self._keys.values()))


def _end(session: _Session) -> int:
    return session.end
