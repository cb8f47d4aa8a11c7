"""Event time, windows, joins and processes for the reference interpreter: plain lists, no kernels.

Of a kernel only the settings are read. Where the input comes in several lanes there is a result only if no event
can be late, in whatever order they come: then every window has all of its events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from reactor.graph import Node
from reactor.operators import EventTime, Timed
from reactor.testing.failing import Calls, Failed, Skipped
from reactor.testing.outcome import Failure, Undetermined
from reactor.testing.processes import processed
from reactor.testing.rows import Row, untimed
from reactor.windows import (
    BEGINNING,
    END_OF_TIME,
    Counts,
    Handlers,
    Intervals,
    Joined,
    Sessions,
    States,
    Table,
    Window,
    Windowed,
)

Lanes = list[list[Row]]
Timely = tuple[Lanes, Lanes, Failure | None]
"""The lanes of the results and of the late events, and how they end."""


def event_times(
    calls: Calls, node: Node, op: EventTime, lanes: Lanes, failure: Failure | None, parted: bool = False
) -> tuple[Lanes, Failure | None]:
    """Give each event its time, and the watermark before it; no partition is idle, as no time passes."""
    out: Lanes = []
    convert: Callable[[Any], int] = op.convert or int
    for lane in lanes:
        out.append([])
        highest = BEGINNING + op.out_of_order
        tops: dict[str | None, int] = {}
        for row in lane:
            if parted:
                for there in row.there:
                    highest = max(highest, _lowest(tops, there))
            try:
                time = calls.guard(
                    node, row.event, lambda event: convert(calls.instead(op.fn)(event)), row.event
                )
            except Skipped:
                continue
            except Failed as failed:
                failure = failed.failure
                break
            out[-1].append(Row(row.event, time, highest - op.out_of_order))
            tops[row.part] = max(time, tops.get(row.part, BEGINNING))
            highest = max(highest, _lowest(tops, row.there[-1]) if parted else time)
    if len([lane for lane in out if lane]) > 1:
        most = max(row.time for lane in out for row in lane) - op.out_of_order
        out = [[row._replace(watermark=most) for row in lane] for lane in out]
    return out, failure


def _lowest(tops: dict[str | None, int], there: frozenset[str]) -> int:
    return min((tops.get(part, BEGINNING) for part in there), default=BEGINNING)


def timed(calls: Calls, node: Node, op: Timed, lanes: Lanes, failure: Failure | None) -> Timely:
    """What a window, a join or a process makes of the rows."""
    kernel: Any = op.kernel()
    label = calls.labels[node]
    going = [lane for lane in lanes if lane]
    if op.clock or op.ticks:
        raise Undetermined(f"{label}: it looks at the clock")
    if len(going) > 1 and (failure is not None or isinstance(kernel, Handlers | Counts)):
        raise Undetermined(f"{label}: its input comes in an order that isn't determined")
    rows = [row for lane in going for row in lane]
    several = len(going) > 1
    keyed: list[tuple[Any, Row]] = []
    for row in rows:
        try:
            key = None if op.key is None else calls.guard(node, row.event, op.key, row.event)
            calls.guard(node, row.event, hash, key)
            keyed.append((key, row))
        except Skipped:
            pass
        except Failed as failed:
            failure = failed.failure
            break
    if isinstance(kernel, Handlers):
        return processed(calls, node, kernel, keyed, failure)
    if isinstance(kernel, Intervals):
        return _interval(kernel, keyed, several, label, failure)
    if isinstance(kernel, Table):
        if op.timeless and several:
            raise Undetermined(f"{label}: which version is the newest depends on timing")
        return _table(kernel, keyed, several, label, failure, op.timeless)
    if isinstance(kernel, Counts):
        return _Windows(calls, node, kernel, False).counts(keyed, failure)
    return _Windows(calls, node, kernel, several).all(keyed, failure)


class _Open:
    def __init__(self, key: Any, start: int, end: int) -> None:
        self.key, self.start, self.end = key, start, end
        self.events: list[Any] = []
        self.fresh = 0
        self.fired = False


class _Windows:
    """All windows of one operator, as lists of events."""

    def __init__(self, calls: Calls, node: Node, kernel: Any, several: bool) -> None:
        self.calls, self.node, self.kernel = calls, node, kernel
        self.several = several
        self.open: list[_Open] = []
        self.lanes: dict[Any, list[Row]] = {}
        self.late: list[Row] = []
        self.latest = BEGINNING
        if getattr(kernel, "early_time", None) is not None:
            raise Undetermined(f"{calls.labels[node]}: it looks at the clock")
        if several and getattr(kernel, "early_events", None) is not None:
            raise Undetermined(f"{calls.labels[node]}: early results depend on the order of the events")

    def complete(self, end: int) -> int:
        return end + (1 if isinstance(self.kernel, Sessions) else 0)

    def gone(self, end: int) -> int:
        found: int = min(self.complete(end) + self.kernel.lateness, END_OF_TIME)
        return found

    def value(self, events: list[Any]) -> Any:
        aggregate = self.kernel.aggregate
        state = aggregate.zero()
        for event in events:
            state = aggregate.add(state, event)
        return aggregate.result(state)

    def give(self, window: _Open, watermark: int) -> None:
        everything = isinstance(self.kernel, States) and self.kernel.size is None
        time = self.latest if everything else self.complete(window.end) - 1
        found = Windowed(window.key, Window(window.start, window.end), self.value(window.events), time)
        self.lanes.setdefault(window.key, []).append(Row(found, time, time if self.several else watermark))
        window.fresh = 0
        if not self.kernel.accumulating:
            window.events = []

    def advance(self, watermark: int, before: int) -> None:
        for window in sorted(self.open, key=lambda window: (window.end, window.start)):
            if self.complete(window.end) <= watermark and not window.fired:
                window.fired = True
                if window.events:
                    self.give(window, before)
        self.open = [window for window in self.open if self.gone(window.end) > watermark]

    def all(self, keyed: list[tuple[Any, Row]], failure: Failure | None) -> Timely:
        before = BEGINNING
        for key, given in keyed:
            row = self.in_any_order(given) if self.several else given
            self.advance(row.watermark, before)
            before = row.watermark
            try:
                self.calls.guard(self.node, row.event, self.value, [row.event])
            except Skipped:
                continue
            except Failed as failed:
                failure = failed.failure
                break
            self.latest = max(self.latest, row.time)
            mine = self.mine(key, row)
            if not mine:
                self.late.append(row)
            for window in mine:
                if window not in self.open:
                    self.open.append(window)
                window.events.append(row.event)
                window.fresh += 1
                early = self.early is not None and window.fresh >= self.early
                if self.complete(window.end) <= row.watermark:
                    window.fired = True
                    self.give(window, row.watermark)
                elif early:
                    self.give(window, row.watermark)
        if failure is None:
            self.advance(END_OF_TIME, before)
        return list(self.lanes.values()), [self.late], failure

    @property
    def early(self) -> int | None:
        return getattr(self.kernel, "early_events", None)

    def spans(self, time: int) -> list[tuple[int, int]]:
        """The windows of an event that is alone."""
        kernel = self.kernel
        if isinstance(kernel, Sessions):
            return [(time, time + kernel.gap)]
        if kernel.size is None:
            return [(BEGINNING, END_OF_TIME)]
        last = (time - kernel.offset) // kernel.every * kernel.every + kernel.offset
        starts = range(last, time - kernel.size, -kernel.every)
        return [(start, start + kernel.size) for start in reversed(starts)]

    def in_any_order(self, row: Row) -> Row:
        """The row before any watermark, if it is in time for all of its windows anyway."""
        if any(self.complete(end) <= row.watermark for _, end in self.spans(row.time)):
            label = self.calls.labels[self.node]
            raise Undetermined(f"{label}: whether an event is late depends on timing")
        return untimed([row])[0]

    def mine(self, key: Any, row: Row) -> list[_Open]:
        """The windows that the event still belongs to."""
        if isinstance(self.kernel, Sessions):
            return self.session(key, row, self.kernel.gap)
        found: list[_Open] = []
        for start, end in self.spans(row.time):
            if self.gone(end) > row.watermark:
                known = (w for w in self.open if (w.key, w.start, w.end) == (key, start, end))
                found.append(next(known, None) or _Open(key, start, end))
        return found

    def session(self, key: Any, row: Row, gap: int) -> list[_Open]:
        merged = _Open(key, row.time, row.time + gap)
        touched = [w for w in self.open if w.key == key and w.start <= merged.end and w.end >= row.time]
        merged.start = min([merged.start, *(w.start for w in touched)])
        merged.end = max([merged.end, *(w.end for w in touched)])
        if self.gone(merged.end) <= row.watermark:
            return []
        for one in sorted(touched, key=lambda window: window.start):
            merged.events += one.events
            merged.fresh += one.fresh
            merged.fired = len(touched) == 1 and one.end == merged.end and one.fired
            self.open.remove(one)
        return [merged]

    def counts(self, keyed: list[tuple[Any, Row]], failure: Failure | None) -> Timely:
        size, every = self.kernel.size, self.kernel.every
        seen: dict[Any, list[Row]] = {}

        def give(key: Any, time: int, watermark: int) -> None:
            mine = seen[key]
            start = max(0, len(mine) - size)
            if every == size:
                start = (len(mine) - 1) // size * size
            value = self.value([row.event for row in mine[start:]])
            found = Windowed(key, Window(start, len(mine)), value, time)
            self.lanes.setdefault(key, []).append(Row(found, time, watermark))

        for key, row in keyed:
            try:
                self.calls.guard(self.node, row.event, self.value, [row.event])
            except Skipped:
                continue
            except Failed as failed:
                failure = failed.failure
                break
            self.latest = max(self.latest, row.time)
            seen.setdefault(key, []).append(row)
            if len(seen[key]) % every == 0:
                give(key, row.time, row.watermark)
        for key, mine in seen.items() if failure is None else ():
            if len(mine) % every:
                give(key, self.latest, min(self.latest, keyed[-1][1].watermark))
        return list(self.lanes.values()), [[]], failure


# Joins: each pair is a lane of its own, as nothing is said of their order ------------------------------------


def _sides(
    keyed: list[tuple[Any, Row]], several: bool, label: str
) -> tuple[list[tuple[Any, Row]], list[tuple[Any, Row]], list[Row]]:
    """The events of both sides that are in time, and those that are late."""
    late = [row for _, row in keyed if row.time < row.watermark]
    if several and late:
        raise Undetermined(f"{label}: whether an event is late depends on timing")
    good = [(key, row._replace(event=row.event[2]), row.event[0]) for key, row in keyed if row not in late]
    return [(k, row) for k, row, side in good if not side], [(k, row) for k, row, side in good if side], late


def _interval(
    kernel: Intervals, keyed: list[tuple[Any, Row]], several: bool, label: str, failure: Failure | None
) -> Timely:
    lefts, rights, late = _sides(keyed, several, label)
    out: list[Any] = []
    matched: set[int] = set()
    for key, left in lefts:
        for other, right in rights:
            if key == other and left.time - kernel.before <= right.time <= left.time + kernel.after:
                matched |= {id(left), id(right)}
                out.append(Joined(key, left.event, right.event, max(left.time, right.time)))
    if failure is None and kernel.how != "inner":
        alone = [(key, row) for key, row in lefts if id(row) not in matched]
        out += [Joined(key, row.event, None, row.time + kernel.after) for key, row in alone]
    if failure is None and kernel.how == "outer":
        alone = [(key, row) for key, row in rights if id(row) not in matched]
        out += [Joined(key, None, row.event, row.time + kernel.before) for key, row in alone]
    return [[Row(pair, pair.time, pair.time)] for pair in out], [late], failure


def _table(
    kernel: Table,
    keyed: list[tuple[Any, Row]],
    several: bool,
    label: str,
    failure: Failure | None,
    timeless: bool,
) -> Timely:
    out: Lanes = []
    versions: dict[Any, list[Row]] = {}
    if not timeless:
        lefts, rights, late = _sides(keyed, several, label)
        if late:
            raise Undetermined(f"{label}: which versions are still there for late events isn't said")
        order = [*((1, key, row) for key, row in rights), *((0, key, row) for key, row in lefts)]
    else:
        order = [(row.event[0], key, row._replace(event=row.event[2])) for key, row in keyed]
    for side, key, row in order:
        if side:
            versions.setdefault(key, []).append(row)
            continue
        older = [one for one in versions.get(key, ()) if one.time <= row.time]
        if older or kernel.how == "left":
            newest = max(enumerate(older), key=lambda at: (at[1].time, at[0]))[1].event if older else None
            out.append([Row(Joined(key, row.event, newest, row.time), row.time, row.time)])
    if timeless:
        out = [[row for lane in out for row in lane]]
    return out, cast("Lanes", [[]]), failure
