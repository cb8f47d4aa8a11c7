"""Windows by the clock, against RxPY's buffers under its TestScheduler: the same lists at the same moments."""

from __future__ import annotations

import operator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

from reactor import Session, Sliding, Tumbling, Window, Windowed
from reactor.testing import START
from tests.differential.timelines import (
    Loop,
    Seen,
    Timeline,
    durations,
    loops,
    on_reactor,
    on_rxpy,
    timelines,
)
from tests.engine.graphs import TIME, examples

pytestmark = TIME


def begun(window: Window) -> float:
    """When a window begins, in seconds since the run did."""
    return window.start / 1e6 - START.timestamp()


def lists(seen: Seen) -> Seen:
    """RxPY's buffers without the empty ones."""
    return seen._replace(events=[(moment, batch) for moment, batch in seen.events if batch])


@loops
@examples(0.3)
@given(timelines(), durations)
def test_tumbling_windows_are_buffers_of_a_time(loop: Loop, line: Timeline, seconds: float) -> None:
    """The virtual clock begins where windows of each of these sizes do. Without events there is no result."""
    assert START.timestamp() % seconds == 0
    seen = on_reactor(
        loop, lambda s: s.window(Tumbling(seconds, clock=True)).collect().map(lambda f: f.value), line
    )
    assert seen == lists(on_rxpy(lambda at, s: s.pipe(ops.buffer_with_time(seconds, scheduler=at)), line))


@loops
@examples(0.3)
@given(timelines(), durations, st.integers(1, 4))
def test_sliding_windows_are_buffers_that_begin_so_often(
    loop: Loop, line: Timeline, every: float, times: int
) -> None:
    """RxPY's first buffer begins with the subscription; of reactor's aligned windows some have begun before."""
    size = every * times

    def value(found: Windowed[Any, list[Any]]) -> tuple[float, list[Any]]:
        return begun(found.window), found.value

    seen = on_reactor(
        loop, lambda s: s.window(Sliding(size, every=every, clock=True)).collect().map(value), line
    )
    ours = [(moment, batch) for moment, (begin, batch) in seen.events if begin >= 0]
    theirs = lists(on_rxpy(lambda at, s: s.pipe(ops.buffer_with_time(size, every, scheduler=at)), line))
    assert seen._replace(events=ours) == theirs


@loops
@examples(0.3)
@given(timelines(), durations)
def test_sessions_are_buffers_until_it_is_quiet(loop: Loop, line: Timeline, gap: float) -> None:
    """RxPY says it with a buffer that debounce closes. reactor's session is complete a microsecond later."""

    def theirs(at: Any, source: Any) -> Any:
        shared = source.pipe(ops.share())
        return shared.pipe(ops.buffer(shared.pipe(ops.debounce(gap, at))))

    seen = on_reactor(
        loop, lambda s: s.window(Session(gap, clock=True)).collect().map(operator.attrgetter("value")), line
    )
    rounded = [(round(moment, 5), batch) for moment, batch in seen.events]
    assert seen._replace(events=rounded) == lists(on_rxpy(theirs, line))
