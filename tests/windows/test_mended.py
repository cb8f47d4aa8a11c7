"""Bugs that the properties have found, one at a time, with names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from reactor import ArgumentError, Count, Early, Pipeline, Session, Skip, Sliding, Stream, Tumbling, Windowed
from reactor.windows import Counting, Sessions
from tests.windows.plans import Cut, key_of, run, time_of, us

pytestmark = pytest.mark.anyio


async def results(make: Callable[[Stream[Any]], Any], events: list[Any], bound: int = 0) -> list[Any]:
    seen: list[Windowed[Any, Any]] = []
    stream = Stream(events).event_time(time_of, us(bound), unit="us")
    await run(Cut(), make(stream).to(seen.append))
    return [(result.key, tuple(result.window), result.value) for result in seen]


async def test_a_session_that_grows_after_it_has_fired_is_forgotten_once() -> None:
    def make(stream: Stream[Any]) -> Any:
        return stream.key_by(key_of).window(Session(us(10)), lateness=us(20)).count()

    seen = await results(make, [(0, 0), (15, 0), (3, 0), (50, 0)])
    assert seen == [(0, (0, 10), 1), (0, (0, 13), 2), (0, (15, 25), 1), (0, (50, 60), 1)]


async def test_a_late_event_whose_window_had_none_before_fires_once() -> None:
    def make(stream: Stream[Any]) -> Any:
        windows = stream.key_by(key_of).window(Tumbling(us(10)), lateness=us(1000), early=Early(events=5))
        return windows.count()

    seen = await results(make, [(100, 0), (55, 0), (2000, 0)])
    assert seen == [(0, (50, 60), 1), (0, (100, 110), 1), (0, (2000, 2010), 1)]


async def test_sessions_that_merge_beyond_the_number_for_early_results_give_one() -> None:
    def make(stream: Stream[Any]) -> Any:
        return stream.key_by(key_of).window(Session(us(10)), early=Early(events=3)).count()

    seen = await results(make, [(0, 0), (1, 0), (20, 0), (21, 0), (10, 0)], bound=30)
    assert seen == [(0, (0, 31), 5), (0, (0, 31), 5)]


async def test_what_is_left_of_count_windows_at_the_end_is_in_time_for_the_next_window() -> None:
    def make(stream: Stream[Any]) -> Any:
        return stream.key_by(key_of).window(Count(2)).count().window(Tumbling(us(10))).sum(lambda r: r.value)

    # Key 0 has one event left, from time 3, when the watermark is at 300.
    seen = await results(make, [(1, 0), (2, 0), (3, 0), (100, 1), (200, 1), (300, 1)])
    assert seen == [(None, (0, 10), 2), (None, (200, 210), 2), (None, (300, 310), 2)]


@pytest.mark.timeout(10)
async def test_windows_that_wait_for_late_events_cost_nothing_meanwhile() -> None:
    """Each look at the watermark went through all that are kept for their lateness: minutes for this."""
    stream = Stream(range(10_000)).event_time(lambda n: n, unit="s")
    windows = stream.window(Tumbling(1), lateness=10**6, early=Early(events=5))
    assert await windows.count().count() == 10_000


def append(values: list[int], event: Any) -> list[int]:
    values.append(event[2])
    return values


def update(one: Counter[int], other: Counter[int]) -> Counter[int]:
    one.update(other)
    return one


def add(counts: Counter[int], event: Any) -> Counter[int]:
    counts[event[2]] += 1
    return counts


async def test_a_result_of_a_fold_stays_as_it_was_emitted() -> None:
    def make(stream: Stream[Any]) -> Any:
        return stream.window(Tumbling(us(60)), lateness=us(100)).fold(append, factory=list)

    seen = await results(make, [(1, 0, 1), (70, 0, 2), (2, 0, 3)])
    assert [value for _, _, value in seen] == [[1], [1, 3], [2]]


async def test_a_merge_that_changes_its_first_state_makes_no_other_window_wrong() -> None:
    def make(stream: Stream[Any]) -> Any:
        return stream.window(Sliding(us(30), us(10))).fold(add, factory=Counter[int], merge=update)

    seen = await results(make, [(1, 0, 1), (2, 0, 3), (11, 0, 4), (21, 0, 5)])
    assert [sorted(value) for _, _, value in seen] == [[1, 3], [1, 3, 4], [1, 3, 4, 5], [4, 5], [5]]


async def test_an_event_time_further_on_has_a_highest_time_of_its_own() -> None:
    def make(stream: Stream[Any]) -> Any:
        again = stream.event_time(time_of, us(2), unit="us").filter(lambda event: event[2] != 20)
        windows = again.event_time(time_of, us(2), unit="us").window(Session(us(5)), lateness=us(10))
        return windows.count()

    # What the filter has dropped isn't in the last watermark, which is 161 before the last event.
    seen = await results(make, [(163, 2, 6), (171, 1, 20), (149, 2, 14)], bound=30)
    assert seen == [(None, (149, 154), 1), (None, (163, 168), 1)]


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
@pytest.mark.parametrize("garbage", [10**40, float("inf")])
async def test_a_garbage_time_is_event_times_failure_and_ends_nothing(
    unit: Any, scale: int, garbage: Any
) -> None:
    times = [scale * 1, scale * 2, garbage, scale * 3]
    stream = Stream(times).event_time(lambda time: time, unit=unit, on_error=Skip())
    seen = await stream.window(Tumbling(10)).count().collect()
    assert [result.value for result in seen] == [3]
    with pytest.raises(ArgumentError, match=r"is no (event )?time"):
        await Stream(times).event_time(lambda time: time, unit=unit).window(Tumbling(10)).count().collect()


def test_a_session_that_grows_has_one_entry_in_the_heap() -> None:
    sessions = Sessions(1000, 0, Counting())
    for time in range(5000):
        sessions.add(time % 10, time, time, time - 1)
    assert (sessions.open, len(sessions._ends)) == (10, 10)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
async def test_two_windows_in_one_loop_and_a_batch_behind_them(count: int) -> None:
    """The second window fires at the end, for a result of the first one that comes only then."""
    timed = Stream(range(count)).event_time(float, unit="s")
    first = timed.window(Tumbling(3)).sum().map(lambda found: found.value)
    second = first.window(Tumbling(3)).sum().map(lambda found: found.value)
    wanted = [sum(range(start, min(start + 3, count))) for start in range(0, count, 3)]
    assert await second.batch(2).flat_map(list).collect() == wanted


@pytest.mark.parametrize("between", ["together", "apart"])
async def test_windows_of_results_dont_depend_on_how_the_input_was_cut(between: str) -> None:
    """Behind another kernel the watermark itself is compared, behind a chunk as at each row."""

    async def once(chunk: int) -> Counter[Any]:
        seen: list[Any] = []
        timed = Stream(range(80)).event_time(lambda n: float(n ^ 3), out_of_order=4, unit="s").key_by(_mod5)
        sums = timed.window(Count(3)).sum().map(_value)
        most = sums.key_by(_mod5).window(Sliding(12, every=5)).max().map(_value)
        if between == "apart":
            most = most.buffer(2)
        again = most.key_by(_mod5).window(Sliding(12, every=5)).count()
        pipeline = Pipeline("p", again.to(seen.append), again.late.discard(), chunk=chunk)
        await pipeline.run()
        return Counter((one.key, one.window, one.value) for one in seen)

    whole = await once(4096)
    assert len(whole) > 50
    for chunk in (1, 2, 3, 5, 7, 16):
        assert await once(chunk) == whole


def _mod5(number: int) -> int:
    return number % 5


def _value(found: Windowed[Any, int]) -> int:
    return found.value
