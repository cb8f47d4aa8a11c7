"""Random pipelines with windows: what to build, as plain data, how to build it, and what the oracle says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import strategies as st

from reactor import (
    Count,
    Early,
    Global,
    Pipeline,
    Record,
    Run,
    Session,
    Sliding,
    Source,
    Stream,
    Tumbling,
    Windowed,
)
from tests.engine.graphs import PATIENCE
from tests.windows import oracle
from tests.windows.oracle import Result, Row, Spec, number

Event = tuple[int, int, int]
"""Time, key, value."""


def us(n: int) -> timedelta:
    """A duration in microseconds, in which the oracle counts."""
    return timedelta(microseconds=n)


def time_of(event: Event) -> int:
    return event[0]


def key_of(event: Event) -> int:
    return event[1]


# What to draw ----------------------------------------------------------------------------------------------

steps = st.sampled_from([0, 0, 1, 1, 2, 3, 5, 8, 13, 40])
starts = st.sampled_from([0, 0, 7, -1000, -15, 1_700_000_000_000_000])


@st.composite
def arrivals(draw: st.DrawFn, most: int = 30, disorder: int = 30, gaps: bool = True) -> list[Event]:
    """Events in the order of their arrival; none is more than ``disorder`` behind one before it."""
    now = draw(starts)
    found = []
    for _ in range(draw(st.integers(0, most))):
        now += draw(steps)
        if gaps and draw(st.integers(0, 40)) == 7:
            now += 10**12
        late = draw(st.integers(0, disorder)) if draw(st.booleans()) else 0
        found.append((now - late, draw(st.integers(0, 2)), draw(st.integers(0, 20))))
    return found


@st.composite
def specs(
    draw: st.DrawFn,
    kinds: Sequence[str] = ("tumbling", "sliding", "session", "count", "global"),
    lateness: bool = True,
    early: bool = True,
) -> Spec:
    kind = draw(st.sampled_from(kinds))
    size = draw(st.integers(1, 12))
    every = draw(st.integers(1, size)) if kind in ("sliding", "count") else size
    spec = Spec(kind, size, every)
    if kind in ("tumbling", "sliding"):
        spec = replace(spec, offset=draw(st.sampled_from([0, 0, 1, 3, 25])))
    if kind != "count":
        if lateness:
            spec = replace(spec, lateness=draw(st.sampled_from([0, 0, 3, 10, 40])))
        spec = replace(spec, accumulating=draw(st.booleans()) if lateness or early else True)
        if early:
            spec = replace(spec, early=draw(st.sampled_from([None, None, 1, 2, 3])))
    return spec


@dataclass(frozen=True)
class Between:
    """An operator between event_time and the window."""

    verb: str
    n: int = 2
    waits: tuple[int, ...] = (0,)


between = st.lists(
    st.builds(
        Between,
        st.sampled_from(["buffer", "map", "filter", "flat_map", "batch", "pool", "again"]),
        st.integers(1, 4),
        st.lists(st.sampled_from([0, 0, 1, 3]), min_size=1, max_size=3).map(tuple),
    ),
    max_size=3,
).map(tuple)


@dataclass(frozen=True)
class Cut:
    """How the input is cut, and how large channels and chunks are."""

    kind: str = "list"
    cuts: tuple[int, ...] = (1000,)
    capacity: int = 1024
    chunk: int = 4096


cuts = st.builds(
    Cut,
    st.sampled_from(["list", "async", "source"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    st.one_of(st.integers(1, 4), st.just(1024)),
    st.one_of(st.integers(1, 4), st.just(4096)),
)


# How to build it -------------------------------------------------------------------------------------------


class Pieces(Source[Any]):
    """Gives so many events at a time."""

    def __init__(self, events: Sequence[Any], sizes: tuple[int, ...]) -> None:
        self.events = events
        self.sizes = sizes
        self.at = self.reads = 0

    async def read(self, limit: int) -> list[Record[Any]] | None:
        await anyio.lowlevel.checkpoint()
        self.reads += 1
        if self.at >= len(self.events):
            return None
        n = min(limit, self.sizes[self.reads % len(self.sizes)])
        self.at += n
        return [Record(event) for event in self.events[self.at - n : self.at]]


def source(events: Sequence[Any], cut: Cut) -> Stream[Any]:
    if cut.kind == "list":
        return Stream(list(events))
    if cut.kind == "source":
        return Stream(Pieces(events, cut.cuts))

    async def one_by_one() -> AsyncIterator[Any]:
        for event in events:
            await anyio.lowlevel.checkpoint()
            yield event

    return Stream(one_by_one)


def timed(events: Sequence[Any], cut: Cut, bound: int) -> Stream[Any]:
    return source(events, cut).event_time(time_of, us(bound), unit="us")


def slow(waits: tuple[int, ...]) -> Callable[[Any], Any]:
    async def wait(event: Any) -> Any:
        for _ in range(waits[number(event) % len(waits)]):
            await anyio.lowlevel.checkpoint()
        return event

    return wait


def through(stream: Stream[Any], what: Between) -> Stream[Any]:
    match what.verb:
        case "buffer":
            return stream.buffer(what.n)
        case "map":
            return stream.map(lambda event: (*event[:2], event[2] + what.n))
        case "filter":
            return stream.filter(lambda event: number(event) % (what.n + 1) != 0)
        case "flat_map":
            return stream.flat_map(lambda event: [event] * (number(event) % (what.n + 1)))
        case "batch":
            return stream.batch(what.n).flat_map(lambda events: list(events))
        case "pool":
            return stream.map(slow(what.waits), concurrency=what.n)
        case "again":
            return stream.event_time(time_of, us(what.n), unit="us")
        case "unordered":
            return stream.map(slow(what.waits), concurrency=what.n, ordered=False)
        case "by key":
            return stream.map(slow(what.waits), concurrency=what.n, key=key_of)
    raise AssertionError(what.verb)


def through_rows(rows: list[Row], what: Between) -> list[Row]:
    """The same for the oracle."""
    n = what.n
    match what.verb:
        case "map":
            return [row._replace(event=(*row.event[:2], row.event[2] + n)) for row in rows]
        case "filter":
            return [row for row in rows if number(row.event) % (n + 1) != 0]
        case "flat_map":
            return [row for row in rows for _ in range(number(row.event) % (n + 1))]
        case "batch":
            parts = [rows[at : at + n] for at in range(0, len(rows), n)]
            return [
                Row(row.event, max(one.time for one in part), part[0].watermark)
                for part in parts
                for row in part
            ]
        case "again":
            return oracle.rows([row.event for row in rows], n)
    return rows


def assigner(spec: Spec) -> Any:
    match spec.kind:
        case "tumbling":
            return Tumbling(us(spec.size), offset=us(spec.offset))
        case "sliding":
            return Sliding(us(spec.size), us(spec.every), offset=us(spec.offset))
        case "session":
            return Session(us(spec.size))
        case "count":
            return Count(spec.size, spec.every)
    return Global()


def windowed(stream: Stream[Any], spec: Spec, key: Any = key_of) -> Any:
    """Windows over the stream: the keyed ones, or not keyed where ``key`` is None."""
    how: dict[str, Any] = {"accumulating": spec.accumulating}
    if spec.lateness:
        how["lateness"] = us(spec.lateness)
    if spec.early is not None:
        how["early"] = Early(events=spec.early)
    return (stream if key is None else stream.key_by(key)).window(assigner(spec), **how)


AGGREGATES = {
    "count": lambda w: w.count(),
    "sum": lambda w: w.sum(number),
    "mean": lambda w: w.mean(number),
    "min": lambda w: w.min(number),
    "max": lambda w: w.max(number),
    "collect": lambda w: w.collect(),
    "top": lambda w: w.top(3, number),
    "reduce": lambda w: w.reduce(lambda a, b: (max(a[0], b[0]), a[1], a[2] + b[2])),
    "fold": lambda w: w.fold(lambda n, event: n + number(event), 0, merge=lambda a, b: a + b),
    "alone": lambda w: w.fold(lambda n, event: n + number(event), 0),
}
"""``alone`` is a fold without merge: a state for each window."""


def made(name: str, events: Sequence[Any]) -> Any:
    """What the oracle says that an aggregate makes of the events."""
    if name in ("fold", "alone", "reduce"):
        name = "sum"
    return oracle.MADE[name](list(events))


def value_of(name: str, value: Any) -> Any:
    """A result's value as the oracle says it."""
    if name == "collect":
        return sorted(value)
    if name == "top":
        return [number(event) for event in value]
    return value[2] if name == "reduce" else value


def expected(found: Sequence[Result], name: str, seconds: bool = False) -> list[tuple[Any, ...]]:
    return [(result.key, tuple(result.window), made(name, result.events), result.time) for result in found]


def shown(seen: Sequence[Windowed[Any, Any]], name: str) -> list[tuple[Any, ...]]:
    return [(result.key, tuple(result.window), value_of(name, result.value), result.time) for result in seen]


async def run(cut: Cut, *ends: Any) -> Run:
    """Run a pipeline to its end; return the run, for its metrics."""
    pipeline = Pipeline("windows", *ends, capacity=cut.capacity, chunk=cut.chunk)
    with anyio.fail_after(PATIENCE):
        async with pipeline.start() as running:
            await running.wait()
    return running


def multiset(found: Sequence[Any]) -> Counter[str]:
    return Counter(map(repr, found))


def late_of(running: Run) -> int:
    return sum(stage.late for stage in running.metrics().stages)


def open_of(running: Run) -> int:
    return sum(stage.windows for stage in running.metrics().stages)
