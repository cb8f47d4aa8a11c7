"""Operators that look at the clock, against RxPY's under its TestScheduler: the same at the same moments."""

from __future__ import annotations

from typing import Any

import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

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


@loops
@examples(0.3)
@given(timelines(), durations)
def test_debounce_is_debounce(loop: Loop, line: Timeline, seconds: float) -> None:
    seen = on_reactor(loop, lambda s: s.debounce(seconds), line)
    assert seen == on_rxpy(lambda at, s: s.pipe(ops.debounce(seconds, at)), line)


@loops
@examples(0.3)
@given(timelines(), durations)
def test_throttle_is_throttle_first(loop: Loop, line: Timeline, seconds: float) -> None:
    seen = on_reactor(loop, lambda s: s.throttle(seconds), line)
    assert seen == on_rxpy(lambda at, s: s.pipe(ops.throttle_first(seconds, at)), line)


@loops
@examples(0.3)
@given(timelines(), durations)
def test_sample_is_sample_but_for_the_end(loop: Loop, line: Timeline, seconds: float) -> None:
    """RxPY waits for the next tick to tell the last event and the end; reactor tells both when its input ends."""
    seen = on_reactor(loop, lambda s: s.sample(seconds), line)
    theirs = on_rxpy(lambda at, s: s.pipe(ops.sample(seconds, at)), line)
    assert seen == Seen([(min(moment, line.end), value) for moment, value in theirs.events], line.end)
    assert line.end <= theirs.end <= line.end + seconds


@loops
@examples(0.3)
@given(timelines(), durations)
def test_delay_is_delay_but_for_the_end(loop: Loop, line: Timeline, seconds: float) -> None:
    """RxPY delays the end as well; reactor ends with the last event, or with its input."""
    seen = on_reactor(loop, lambda s: s.delay(seconds), line)
    theirs = on_rxpy(lambda at, s: s.pipe(ops.delay(seconds, at)), line)
    assert seen.events == theirs.events
    assert seen.end == max([line.end, *(moment for moment, _ in seen.events)])
    assert theirs.end == line.end + seconds


@loops
@examples(0.3)
@given(timelines(), durations)
def test_timeout_is_timeout(loop: Loop, line: Timeline, seconds: float) -> None:
    seen = on_reactor(loop, lambda s: s.timeout(seconds), line)
    assert seen == on_rxpy(lambda at, s: s.pipe(ops.timeout(seconds, scheduler=at)), line)


@loops
@examples(0.3)
@given(timelines(), durations)
def test_the_first_fallback_of_timeout_is_where_rxpy_goes_over(
    loop: Loop, line: Timeline, seconds: float
) -> None:
    """RxPY leaves its input for the other observable; reactor emits the fallback, and goes on."""
    seen = on_reactor(loop, lambda s: s.timeout(seconds, fallback="silence"), line)
    theirs = on_rxpy(
        lambda at, s: s.pipe(ops.timeout(seconds, reactivex.just("silence", at), scheduler=at)), line
    )
    until = next((n for n, (_, value) in enumerate(seen.events) if value == "silence"), None)
    if until is None:
        assert seen == theirs
        return
    assert seen.events[: until + 1] == theirs.events
    assert [e for e in seen.events if e[1] != "silence"] == line.events
    assert seen.end == line.end


def grouped(at: Any, source: Any, size: int, seconds: float) -> Any:
    """RxPY's words for what batch does: a group that opens with an event, and ends by size or time."""

    def over(group: Any) -> Any:
        return group.pipe(ops.skip(size - 1), ops.amb(reactivex.timer(seconds, scheduler=at)))

    return source.pipe(
        ops.group_by_until(lambda _: None, None, over), ops.flat_map(lambda group: group.pipe(ops.to_list()))
    )


@loops
@examples(0.3)
@given(timelines(), durations, st.integers(1, 4))
def test_batch_is_a_group_until_size_or_time(loop: Loop, line: Timeline, seconds: float, size: int) -> None:
    """The time of a list begins with its first event."""
    seen = on_reactor(loop, lambda s: s.batch(size, max_wait=seconds), line)
    assert seen == on_rxpy(lambda at, s: grouped(at, s, size, seconds), line)


@loops
@examples(0.3)
@given(timelines(), durations, st.integers(1, 4))
def test_batch_makes_no_more_lists_than_buffer_with_time_or_count(
    loop: Loop, line: Timeline, seconds: float, size: int
) -> None:
    """RxPY's time runs from the list before, so that lists may be cut early, or be empty.

    Both keep every event, in order, no list too long, and no event waiting longer than ``seconds``.
    """
    seen = on_reactor(loop, lambda s: s.batch(size, max_wait=seconds), line)
    theirs = on_rxpy(lambda at, s: s.pipe(ops.buffer_with_time_or_count(seconds, size, at)), line)
    came = {value: moment for moment, value in line.events}
    for found in (seen, theirs):
        assert [value for _, batch in found.events for value in batch] == list(came)
        assert all(len(batch) <= size for _, batch in found.events)
        assert all(moment - came[value] <= seconds for moment, batch in found.events for value in batch)
    assert all(batch for _, batch in seen.events)
    assert len(seen.events) <= sum(1 for _, batch in theirs.events if batch)
    assert seen.end == theirs.end == line.end
