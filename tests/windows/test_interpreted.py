"""The reference interpreter knows times, windows, joins and processes; the engine comes to the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import anyio
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reactor import Count, Early, Interval, Pipeline, Process, Session, Skip, Stream, Tumbling
from reactor.testing import Undetermined, interpret
from reactor.windows import Context
from tests.engine.graphs import PATIENCE, TIME, examples
from tests.windows import oracle
from tests.windows.plans import (
    AGGREGATES,
    Between,
    Cut,
    Event,
    arrivals,
    between,
    cuts,
    expected,
    key_of,
    multiset,
    shown,
    slow,
    source,
    specs,
    through,
    through_rows,
    time_of,
    us,
    windowed,
)

TEN = Tumbling(us(10))


def timed(events: list[Any], bound: int = 0) -> Stream[Any]:
    return Stream(events).event_time(time_of, us(bound), unit="us")


def values(stream: Stream[Any]) -> list[Any]:
    return [result.value for result in interpret(stream).events]


class Waiting(Process[int, Event, Any]):
    def event(self, event: Event, context: Context[int]) -> Iterable[Any]:
        context.at(event[0] + 10)
        return [("event", event[0])]

    def timer(self, time: int, context: Context[int]) -> Iterable[Any]:
        if time % 2:
            context.forget()
        return [("timer", time)]

    def end(self, context: Context[int]) -> Iterable[Any]:
        return [("end", context.key)]


EVENTS = [(1, 0, 1), (5, 0, 2), (21, 0, 3), (7, 0, 4), (22, 0, 5)]


def second(event: Any) -> Any:
    return event[2]


CASES: list[tuple[Stream[Any], list[Any]]] = [
    (timed(EVENTS).window(TEN).sum(second), [3, 8]),
    (timed(EVENTS).window(TEN, lateness=us(50)).count(), [2, 3, 2]),
    (timed(EVENTS).window(TEN, lateness=us(50), accumulating=False).count(), [2, 1, 2]),
    (timed(EVENTS, 30).window(TEN).count(), [3, 2]),
    (timed(EVENTS, 30).window(TEN, early=Early(2)).count(), [2, 2, 3, 2]),
    (timed(EVENTS, 30).window(Session(us(4))).count(), [3, 2]),
    (timed(EVENTS).window(Count(2)).count(), [2, 2, 1]),
    (timed(EVENTS).window(TEN).count().window(Tumbling(us(30))).count(), [2]),
    (timed([*EVENTS, (23, 0, "x")]).window(TEN, on_error=Skip()).sum(second), [3, 8]),
]


@pytest.mark.parametrize(("stream", "found"), CASES)
def test_windows(stream: Stream[Any], found: list[Any]) -> None:
    assert values(stream) == found


def test_late_events_leave_by_their_own_port() -> None:
    results = timed(EVENTS).window(TEN).count()
    outcome = interpret(Pipeline("late", results.discard(), results.late.discard()))
    assert outcome.ends[1].events == [(7, 0, 4)]


def test_the_keys_of_a_window_come_in_any_order() -> None:
    (end,) = interpret(timed([(1, 0), (2, 1), (3, 0)]).key_by(key_of).window(TEN).count()).ends
    assert [[result.value for result in lane] for lane in end.lanes] == [[2], [1]]


def test_processes() -> None:
    outcome = interpret(timed([(1, 0, 0), (6, 0, 0), (13, 0, 0), (14, 0, 0)]).key_by(key_of).process(Waiting))
    assert outcome.events == [
        ("event", 1),
        ("event", 6),
        ("event", 13),
        ("timer", 11),  # at the watermark 13; it forgets itself, and what was set for 16 and 23
        ("event", 14),
        ("timer", 24),
        ("end", 0),
    ]


def test_joins() -> None:
    left, right = timed([(1, 0), (20, 0)]).key_by(key_of), timed([(3, 0), (4, 1)]).key_by(key_of)
    outer = interpret(left.join(right, Interval(us(5), us(5)), how="outer")).events
    assert {(pair.left, pair.right) for pair in outer} == {
        ((1, 0), (3, 0)),
        ((20, 0), None),
        (None, (4, 1)),
    }
    inner = interpret(left.join(right, TEN)).events
    assert [pair.value for pair in inner] == [((1, 0), (3, 0))]
    table = interpret(left.join_table(right, how="left")).events
    assert [(pair.left, pair.right) for pair in table] == [((1, 0), None), ((20, 0), (3, 0))]


UNDETERMINED: list[tuple[Stream[Any], str]] = [
    (timed(EVENTS).window(Tumbling(1, clock=True)).count(), "clock"),
    (timed(EVENTS).window(TEN, early=Early(seconds=1)).count(), "clock"),
    (timed(EVENTS).merge(timed([(1, 0, 0)])).window(TEN).count(), "late depends on timing"),
    (Stream([(1, 0)]).merge(Stream([(30, 0)])).event_time(time_of, unit="us").window(TEN).count(), "late"),
    (timed(EVENTS).merge(timed(EVENTS)).window(Count(2)).count(), "order that isn't determined"),
    (timed(EVENTS).merge(timed(EVENTS)).key_by(key_of).process(Waiting), "order that isn't determined"),
]


@pytest.mark.parametrize(("stream", "says"), UNDETERMINED)
def test_what_depends_on_timing_has_no_result(stream: Stream[Any], says: str) -> None:
    with pytest.raises(Undetermined, match=says):
        interpret(stream)


# The same as the oracle says, and as the engine gives --------------------------------------------------------


@examples(0.4)
@given(
    events=arrivals(),
    spec=specs(),
    bound=st.sampled_from([0, 5, 30]),
    steps=between,
    name=st.sampled_from(sorted(AGGREGATES)),
)
def test_interpreted_windows_are_those_of_the_oracle(
    events: list[Event], spec: oracle.Spec, bound: int, steps: tuple[Between, ...], name: str
) -> None:
    if name == "alone" and spec.kind == "session":
        name = "fold"
    stream, rows = timed(events, bound), oracle.rows(events, bound)
    for step in steps:
        if step.verb != "pool":
            stream, rows = through(stream, step), through_rows(rows, step)
    results = AGGREGATES[name](windowed(stream, spec))
    outcome = interpret(Pipeline("p", results.discard(), results.late.discard()))
    found = oracle.windows(rows, spec)
    assert multiset(shown(outcome.ends[0].events, name)) == multiset(expected(found.results, name))
    assert outcome.ends[1].events == [row.event for row in found.late]


Make = Callable[[Stream[Any], Stream[Any]], Stream[Any]]
GRAPHS: dict[str, Make] = {
    "window": lambda one, two: one.key_by(key_of).window(TEN, lateness=us(5)).sum(second),
    "merged": lambda one, two: one.merge(two).key_by(key_of).window(TEN).sum(second),
    "concat": lambda one, two: one.concat(two).key_by(key_of).window(TEN).sum(second),
    "session": lambda one, two: one.merge(two).key_by(key_of).window(Session(us(8))).count(),
    "of windows": lambda one, two: (
        one.merge(two).key_by(key_of).window(TEN).count().window(Tumbling(us(30))).count()
    ),
    "process": lambda one, two: one.key_by(key_of).process(Waiting, ttl=us(30)),
    "interval": lambda one, two: one.key_by(key_of).join(
        two.key_by(key_of), Interval(us(5), us(9)), how="outer"
    ),
    "table": lambda one, two: one.key_by(key_of).join_table(two.key_by(key_of), how="left"),
    "within": lambda one, two: one.key_by(key_of).join(two.key_by(key_of), TEN, how="left"),
}


@pytest.mark.anyio
@TIME
@pytest.mark.parametrize("graph", GRAPHS)
@examples(0.2)
@given(one=arrivals(15, 10, gaps=False), two=arrivals(15, 10, gaps=False), cut=cuts, waits=st.booleans())
async def test_a_run_gives_what_is_interpreted(
    graph: str, one: list[Event], two: list[Event], cut: Cut, waits: bool
) -> None:
    def build(cut: Cut) -> Stream[Any]:
        streams = [source(events, cut).event_time(time_of, us(10), unit="us") for events in (one, two)]
        if waits and cut.kind != "list":
            streams = [stream.map(slow((0, 2)), concurrency=3) for stream in streams]
        return GRAPHS[graph](*streams)

    seen: list[Any] = []
    with anyio.fail_after(PATIENCE):
        await Pipeline("run", build(cut).to(seen.append), capacity=cut.capacity, chunk=cut.chunk).run()
    outcome = interpret(build(Cut()))
    assume(not outcome.fails)
    assert multiset(seen) == multiset(outcome.events)
    if graph in ("window", "process"):
        assert outcome.ends[0].matches(seen)


@pytest.mark.parametrize(
    "stream",
    [
        Stream([1]).combine_latest(Stream([2])),
        Stream([1]).with_latest(Stream([2])),
        Stream([1]).debounce(1),
        Stream([1]).distinct(ttl=3),
        Stream([1]).switch_map(lambda n: [n]),
    ],
    ids=str,
)
def test_what_depends_on_timing_is_undetermined(stream: Stream[Any]) -> None:
    with pytest.raises(Undetermined, match="depends on timing"):
        interpret(stream)
