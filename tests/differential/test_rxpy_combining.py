"""Operators that combine streams, against RxPY's under its TestScheduler: the same at the same moments.

The inputs have different fractions of a second, so no two of them have an event at one moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import reactivex
from hypothesis import assume, given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler

from tests.differential.timelines import Loop, Seen, Timeline, loops, on_reactor, on_rxpy, timelines
from tests.engine.graphs import TIME, examples

pytestmark = TIME

first = timelines(fraction=0.25, least=1)
second = timelines(fraction=0.375, least=1)
third = timelines(fraction=0.4375, least=1)


@loops
@examples(0.3)
@given(timelines(fraction=0.25), timelines(fraction=0.375), timelines(fraction=0.4375))
def test_merge_is_merge(loop: Loop, a: Timeline, b: Timeline, c: Timeline) -> None:
    seen = on_reactor(loop, lambda a, b, c: a.merge(b, c), a, b, c)
    assert seen == on_rxpy(lambda at, *s: reactivex.merge(*s), a, b, c)


@loops
@examples(0.3)
@given(timelines(fraction=0.25), timelines(fraction=0.375))
def test_zip_is_zip(loop: Loop, a: Timeline, b: Timeline) -> None:
    """RxPY may wait for the end of both; reactor ends when one has ended and its last event has found its pair."""
    seen = on_reactor(loop, lambda a, b: a.zip(b), a, b)
    theirs = on_rxpy(lambda at, *s: reactivex.zip(*s), a, b)
    assert seen.events == theirs.events
    assert seen.end <= theirs.end


def until_all(inputs: tuple[Timeline, ...]) -> float:
    """When each input has had an event."""
    return max(line.events[0][0] for line in inputs)


def waiting(line: Timeline, moment: float) -> list[Any]:
    """The events that have come before this moment."""
    return [value for when, value in line.events if when < moment]


@loops
@examples(0.3)
@given(first, second)
def test_combine_latest_is_combine_latest_that_waits(loop: Loop, a: Timeline, b: Timeline) -> None:
    """Until each has had an event, RxPY forgets all but the latest of the others; in reactor they wait.

    So when the last one has its first event, each that has waited is told with it, and the latest of them is what
    RxPY tells at this moment.
    """
    seen = on_reactor(loop, lambda a, b: a.combine_latest(b), a, b)
    theirs = on_rxpy(lambda at, *s: reactivex.combine_latest(*s), a, b)
    begin = until_all((a, b))
    waited_a, waited_b = waiting(a, begin)[:-1], waiting(b, begin)[:-1]
    waited = [(x, b.events[0][1]) for x in waited_a] + [(a.events[0][1], y) for y in waited_b]
    assert seen.events[: len(waited)] == [(begin, pair) for pair in waited]
    assert seen.events[len(waited) :] == theirs.events
    assert seen.end == theirs.end == max(a.end, b.end)


@loops
@examples(0.3)
@given(first, second, third)
def test_combine_latest_of_three_from_where_each_has_had_an_event(
    loop: Loop, a: Timeline, b: Timeline, c: Timeline
) -> None:
    seen = on_reactor(loop, lambda a, b, c: a.combine_latest(b, c), a, b, c)
    theirs = on_rxpy(lambda at, *s: reactivex.combine_latest(*s), a, b, c)
    begin = until_all((a, b, c))
    assert [e for e in seen.events if e[0] > begin] == [e for e in theirs.events if e[0] > begin]
    assert seen.events[-1] == theirs.events[-1]
    assert min(moment for moment, _ in seen.events) == begin


@loops
@examples(0.3)
@given(first, second)
def test_with_latest_is_with_latest_from_that_waits(loop: Loop, main: Timeline, other: Timeline) -> None:
    """RxPY drops events before the other's first one; in reactor they wait, and get the latest of its moment."""
    begin = other.events[0][0]
    assume(begin < main.end)
    seen = on_reactor(loop, lambda a, b: a.with_latest(b), main, other)
    theirs = on_rxpy(lambda at, a, b: a.pipe(ops.with_latest_from(b)), main, other)
    latest = waiting(other, begin + 0.1)[-1]
    waited = [(begin, (value, latest)) for value in waiting(main, begin)]
    assert seen == Seen(waited + theirs.events, main.end)


inner = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(
    lambda gaps: [sum(gaps[: n + 1]) + 0.125 for n in range(len(gaps))]
)
"""When the items of a sequence come, after it has begun: never at the moment of an event."""


def sequence(moments: list[float]) -> Callable[[int], AsyncIterator[tuple[int, int]]]:
    async def items(event: int) -> AsyncIterator[tuple[int, int]]:
        began = anyio.current_time()
        for n, moment in enumerate(moments):
            await anyio.sleep_until(began + moment)
            yield event, n

    return items


def observable(at: TestScheduler, moments: list[float]) -> Callable[[int], reactivex.Observable[Any]]:
    def items(event: int) -> reactivex.Observable[Any]:
        messages = [ReactiveTest.on_next(moment, (event, n)) for n, moment in enumerate(moments)]
        return at.create_cold_observable(*messages, ReactiveTest.on_completed(moments[-1]))

    return items


@loops
@examples(0.3)
@given(timelines(), inner)
def test_switch_map_is_map_and_switch_latest(loop: Loop, line: Timeline, moments: list[float]) -> None:
    seen = on_reactor(loop, lambda s: s.switch_map(sequence(moments)), line)
    assert seen == on_rxpy(lambda at, s: s.pipe(ops.map(observable(at, moments)), ops.switch_latest()), line)


@loops
@examples(0.3)
@given(timelines(), inner, st.integers(1, 3))
def test_flat_map_over_sequences_is_map_and_merge(
    loop: Loop, line: Timeline, moments: list[float], most: int
) -> None:
    """So many are open at a time. What several sequences have at one moment is compared without its order."""
    seen = on_reactor(loop, lambda s: s.flat_map(sequence(moments), concurrency=most, ordered=False), line)
    theirs = on_rxpy(
        lambda at, s: s.pipe(ops.map(observable(at, moments)), ops.merge(max_concurrent=most)), line
    )
    assert Seen(sorted(seen.events), seen.end, seen.how) == Seen(sorted(theirs.events), *theirs[1:])


@loops
@examples(0.3)
@given(timelines(), inner)
def test_flat_map_in_order_is_concat_map(loop: Loop, line: Timeline, moments: list[float]) -> None:
    seen = on_reactor(loop, lambda s: s.flat_map(sequence(moments)), line)
    assert seen == on_rxpy(lambda at, s: s.pipe(ops.concat_map(observable(at, moments))), line)
