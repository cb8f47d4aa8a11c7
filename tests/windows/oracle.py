"""What windows have to come to, from the definitions: plain Python, nothing of reactor's, as slow as it likes.

Times are whole microseconds. A window [start, end) fires when the watermark has reached its end; the watermark
before an event is the highest time seen before it, less the bound. Late is what comes when end + lateness has
been reached for all of its windows. (DESIGN section 5; Flink's rules.) Sessions that touch are one, so an event at
the very end of a session still makes it longer: a session is complete behind its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BEGINNING = -(2**62)
END = 2**62


class Row(NamedTuple):
    """An event on its way: when it happened, and the watermark before it."""

    event: Any
    time: int
    watermark: int


class Result(NamedTuple):
    """What a window has come to: the events, not yet made anything of."""

    key: Any
    window: tuple[int, int]
    events: tuple[Any, ...]
    time: int
    watermark: int
    """The watermark before the result: it hasn't reached the window's end, unless the result came late."""


@dataclass(frozen=True)
class Spec:
    """Which windows: ``kind`` is tumbling, sliding, session, count or global."""

    kind: str
    size: int = 10
    every: int = 10
    offset: int = 0
    lateness: int = 0
    accumulating: bool = True
    early: int | None = None

    def complete(self, end: int) -> int:
        """The watermark at which a window with this end fires."""
        return end + (self.kind == "session")

    def gone(self, end: int) -> int:
        """The watermark at which it is forgotten, and late is what comes for it."""
        return end if end == END else self.complete(end) + self.lateness

    def starts(self, time: int) -> list[int]:
        """The starts of all windows that contain the time."""
        step = self.every if self.kind == "sliding" else self.size
        first = (time - self.offset) // step * step + self.offset
        return sorted(start for start in range(first, time - self.size, -step))


@dataclass(eq=False)
class _Open:
    key: Any
    start: int
    end: int
    events: list[Any] = field(default_factory=list)
    fresh: int = 0
    fired: bool = False


@dataclass
class Found:
    results: list[Result] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)

    def of_key(self, key: Any) -> list[Result]:
        """The results of one key, in the order in which they come."""
        return [result for result in self.results if result.key == key]


def rows(events: Iterable[Any], bound: int, time: Any = lambda event: event[0]) -> list[Row]:
    """Give each event its time and the watermark before it."""
    found: list[Row] = []
    watermark = BEGINNING
    for event in events:
        found.append(Row(event, time(event), watermark))
        watermark = max(watermark, time(event) - bound)
    return found


def windows(given: Sequence[Row], spec: Spec, key: Any = lambda event: event[1]) -> Found:
    """Return all results and all late events."""
    if spec.kind == "count":
        return _counts(given, spec, key)
    found = Found()
    opened: list[_Open] = []
    before = BEGINNING

    def give(window: _Open, watermark: int, time: int | None = None) -> None:
        at = spec.complete(window.end) - 1 if time is None else time
        found.results.append(
            Result(window.key, (window.start, window.end), tuple(window.events), at, watermark)
        )
        window.fresh = 0
        if not spec.accumulating:
            window.events = []

    def advance(watermark: int, last: int) -> None:
        for window in sorted(opened, key=lambda window: (window.end, window.start)):
            if spec.complete(window.end) <= watermark and not window.fired:
                window.fired = True
                if window.fresh or spec.accumulating:
                    give(window, before, last if spec.kind == "global" else None)
        opened[:] = [window for window in opened if spec.gone(window.end) > watermark]

    latest = BEGINNING
    for row in given:
        advance(row.watermark, latest)
        before = row.watermark
        latest = max(latest, row.time)
        mine = _windows_of(row, key(row.event), opened, spec)
        if not mine:
            found.late.append(row)
        for window in mine:
            if window not in opened:
                opened.append(window)
            window.events.append(row.event)
            window.fresh += 1
            if spec.complete(window.end) <= row.watermark:
                window.fired = True
                give(window, row.watermark)
            elif spec.early is not None and window.fresh >= spec.early:
                give(window, row.watermark, latest if spec.kind == "global" else None)
    advance(END, latest)
    return found


def _windows_of(row: Row, key: Any, opened: list[_Open], spec: Spec) -> list[_Open]:
    """The windows that the event still belongs to, in their order."""
    if spec.kind == "session":
        return _session(row, key, opened, spec)
    spans = [(start, start + spec.size) for start in spec.starts(row.time)]
    if spec.kind == "global":
        spans = [(BEGINNING, END)]
    mine: list[_Open] = []
    for start, end in spans:
        if spec.gone(end) > row.watermark:
            known = [w for w in opened if (w.key, w.start, w.end) == (key, start, end)]
            mine.append(known[0] if known else _Open(key, start, end))
    return mine


def _session(row: Row, key: Any, opened: list[_Open], spec: Spec) -> list[_Open]:
    """Merge all sessions that the event's own, [time, time + gap), overlaps or touches."""
    merged = _Open(key, row.time, row.time + spec.size)
    touched = [w for w in opened if w.key == key and w.start <= merged.end and w.end >= merged.start]
    merged.start = min([merged.start, *(w.start for w in touched)])
    merged.end = max([merged.end, *(w.end for w in touched)])
    if spec.gone(merged.end) <= row.watermark:
        return []
    for one in sorted(touched, key=lambda w: w.start):
        merged.events += one.events
        merged.fresh += one.fresh
        opened.remove(one)
    if len(touched) == 1 and touched[0].end == merged.end:
        merged.fired = touched[0].fired
    return [merged]


def _counts(given: Sequence[Row], spec: Spec, key: Any) -> Found:
    """Each ``every`` events of a key, the last ``size``; what has come since, at the end."""
    found = Found()
    seen: dict[Any, list[Row]] = {}

    def give(which: Any, watermark: int, time: int) -> None:
        mine = seen[which]
        last = mine[-spec.size :]
        if spec.every == spec.size:  # they don't overlap: the last one has what is left
            last = mine[(len(mine) - 1) // spec.size * spec.size :]
        span = (len(mine) - len(last), len(mine))
        found.results.append(Result(which, span, tuple(row.event for row in last), time, watermark))

    for row in given:
        mine = seen.setdefault(key(row.event), [])
        mine.append(row)
        if len(mine) % spec.every == 0:
            give(key(row.event), row.watermark, row.time)
    for which, mine in seen.items():
        if len(mine) % spec.every:
            give(which, given[-1].watermark, max(row.time for row in given))
    return found


# What is made of a window's events -------------------------------------------------------------------------


def number(event: Any) -> int:
    """The value of an event."""
    return int(event[2])


MADE = {
    "count": len,
    "sum": lambda events: sum(map(number, events)),
    "mean": lambda events: sum(map(number, events)) / len(events),
    "min": lambda events: min(map(number, events)),
    "max": lambda events: max(map(number, events)),
    "collect": lambda events: sorted(events),
    "top": lambda events: sorted(map(number, events), reverse=True)[:3],
}
"""By the name of an aggregate, what it makes of a list of events; ``collect`` and ``top`` compared in order."""


# Joins -----------------------------------------------------------------------------------------------------


def interval_join(
    lefts: Sequence[Row], rights: Sequence[Row], before: int, after: int, how: str, key: Any
) -> list[tuple[Any, Any]]:
    """All pairs of one key with left - before <= right <= left + after."""
    return _paired(
        lefts,
        rights,
        lambda left, right: (
            key(left.event) == key(right.event) and left.time - before <= right.time <= left.time + after
        ),
        how,
    )


def window_join(lefts: Sequence[Row], rights: Sequence[Row], spec: Spec, how: str, key: Any) -> list[Any]:
    """All pairs of one key and window, as (window, left, right)."""
    spans = sorted(
        {(start, start + spec.size) for row in [*lefts, *rights] for start in spec.starts(row.time)}
    )
    found: list[Any] = []
    for start, end in spans:
        keys = sorted({key(row.event) for row in [*lefts, *rights]})
        for one in keys:
            inside = [
                [row for row in side if key(row.event) == one and start <= row.time < end]
                for side in (lefts, rights)
            ]
            pairs = _paired(inside[0], inside[1], lambda left, right: True, how)
            found += [((start, end), left, right) for left, right in pairs]
    return found


def _paired(lefts: Sequence[Row], rights: Sequence[Row], fits: Any, how: str) -> list[tuple[Any, Any]]:
    found = [(left.event, right.event) for left in lefts for right in rights if fits(left, right)]
    if how != "inner":
        found += [(left.event, None) for left in lefts if not any(fits(left, right) for right in rights)]
    if how == "outer":
        found += [(None, right.event) for right in rights if not any(fits(left, right) for left in lefts)]
    return found


def table_join(lefts: Sequence[Row], rights: Sequence[Row], how: str, key: Any) -> list[tuple[Any, Any]]:
    """Each left event with the newest right one of its key, as of its own time; of equal ones the last to come."""
    found: list[tuple[Any, Any]] = []
    for left in lefts:
        older = [row for row in rights if key(row.event) == key(left.event) and row.time <= left.time]
        newest = max(older, key=lambda row: row.time, default=None)
        for row in older:
            if newest is not None and row.time == newest.time:
                newest = row
        if newest is not None:
            found.append((left.event, newest.event))
        elif how == "left":
            found.append((left.event, None))
    return found
