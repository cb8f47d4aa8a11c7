"""Worked examples of windows, watermarks and timers from the documentation of Apache Flink.

Each docstring names its page; the numbers are the page's. Where reactor means to differ, it says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from reactor import Count, Global, Pipeline, Process, Session, Sliding, Stream, Tumbling, Window
from reactor.testing import At, run_virtual
from reactor.windows import Context
from tests.windows.worked import (
    DAY,
    HOUR,
    MINUTE,
    Event,
    both,
    clock,
    hours,
    joined_within,
    played,
    span,
    timed,
    to_clock,
    with_late,
)

pytestmark = pytest.mark.anyio


# Flink: Windows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assigner", "expected"),
    [
        (Tumbling(HOUR), ["01:00 02:00", "02:00 03:00"]),
        (Tumbling(HOUR, offset=15 * MINUTE), ["01:15 02:15", "02:15 03:15"]),
        (Sliding(HOUR, every=30 * MINUTE), ["01:00 02:00", "01:30 02:30", "02:00 03:00", "02:30 03:30"]),
        (
            Sliding(HOUR, every=30 * MINUTE, offset=15 * MINUTE),
            ["01:15 02:15", "01:45 02:45", "02:15 03:15"],
        ),
    ],
)
async def test_flink_hourly_windows_are_aligned_to_the_epoch_and_the_offset(
    assigner: Tumbling | Sliding, expected: list[str]
) -> None:
    """Flink, "Windows": hourly windows, tumbling and sliding by 30 minutes, with an offset of 15 minutes, too."""
    events = [Event(clock("01:50")), Event(clock("02:40"))]
    found = await timed(events).window(assigner).count().collect()
    assert [hours(f.window) for f in found] == expected


async def test_flink_a_day_in_china_begins_eight_hours_earlier() -> None:
    """Flink, "Windows": daily windows with an offset of -8 hours are days in China."""
    china = datetime(2024, 2, 10, 0, 0, tzinfo=UTC) - timedelta(hours=8)
    moments = [china - timedelta(microseconds=1), china, china + timedelta(hours=23)]
    windows = Stream(moments).event_time(lambda at: at).window(Tumbling(DAY, offset=timedelta(hours=-8)))
    assert [(f.window.starts_at, f.value) for f in await windows.count().collect()] == [
        (china - timedelta(days=1), 1),
        (china, 2),
    ]


async def test_flink_a_window_is_kept_for_the_allowed_lateness() -> None:
    """Flink, "Windows", "Window Lifecycle": 5 minutes, 1 minute late: 12:00 to 12:05 goes when it is 12:06."""
    arrivals = ["12:01", "12:05", "12:02", "12:05:59", "12:03", "12:06", "12:04"]
    events = [Event(clock(at), None, at) for at in arrivals]
    results = timed(events).window(Tumbling(5 * MINUTE), lateness=MINUTE).collect()
    found, late = await with_late(results)
    assert [[e.value for e in f.value] for f in found] == [
        ["12:01"],
        ["12:01", "12:02"],
        ["12:01", "12:02", "12:03"],
        ["12:05", "12:05:59", "12:06"],
    ]
    assert [e.value for e in late] == ["12:04"]


async def test_flink_without_lateness_what_is_behind_the_watermark_and_its_window_is_dropped() -> None:
    """Flink, "Windows", "Allowed Lateness": 0 is the default. Dropped events are counted."""
    events = [Event(1, None, "a"), Event(5, None, "b"), Event(4, None, "late")]
    results = timed(events).window(Tumbling(5), name="w").collect()
    pipeline = Pipeline("p", results.discard())
    async with pipeline.start() as run:
        await run.wait()
    (stage,) = (s for s in run.metrics().stages if s.dropped)
    assert dict(stage.dropped) == {"w: late": 1}


async def test_flink_nothing_is_late_for_the_global_window() -> None:
    """Flink, "Windows", "Allowed Lateness": the global window's end is the largest time there is.

    Flink's never fires by itself; reactor's fires at the end of a bounded stream.
    """
    events = [Event(100), Event(1), Event(50)]
    found, late = await with_late(timed(events).window(Global()).count())
    assert [f.value for f in found] == [3]
    assert late == []


async def test_flink_a_late_event_merges_two_sessions_that_have_fired() -> None:
    """Flink, "Windows", "Late elements considerations": it may bridge the gap between two sessions."""
    events = [Event(0), Event(16), Event(40), Event(8)]
    windows = timed(events).window(Session(10), lateness=60)
    assert [(span(f.window), f.value) for f in await windows.count().collect()] == [
        ((0, 10), 1),
        ((16, 26), 1),
        ((0, 26), 3),
        ((40, 50), 1),
    ]


async def test_flink_windows_follow_windows() -> None:
    """Flink, "Windows", "Consecutive windowed operations": sums by key in [0, 5) are in [0, 5) of the second."""
    events = [Event(0, "a", 1), Event(1, "b", 5), Event(4, "a", 2), Event(5, "b", 7), Event(9, "c", 3)]
    by_key = timed(events).key_by(lambda e: e.key).window(Tumbling(5)).sum(lambda e: e.value)
    found = await by_key.window(Tumbling(5)).top(1, by=lambda f: f.value).collect()
    assert [(span(f.window), [(w.key, w.value) for w in f.value]) for f in found] == [
        ((0, 5), [("b", 5)]),
        ((5, 10), [("b", 7)]),
    ]


async def test_flink_a_result_has_the_last_moment_of_its_window() -> None:
    """Flink, "Joining": what is joined in [5, 10) has the time 9, the largest within; here in microseconds."""
    found = await joined_within(Tumbling(5), [Event(6)], [Event(8)])
    assert [(f.window, f.time) for f in found] == [(Window(5_000_000, 10_000_000), 9_999_999)]


# Flink: Streaming Analytics ---------------------------------------------------------------------------------

ARRIVING = [4, 2, 7, 11, 9, 15, 12, 13, 17, 14, 21, 24, 22, 19, 23]


class Sorter(Process[None, int, int]):
    """Holds each number until the watermark has passed it."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def event(self, event: int, context: Context[None]) -> None:
        self.held.append(event)
        context.at(event * 1_000_000 + 1)

    def timer(self, time: int, context: Context[None]) -> Iterable[int]:
        due = [n for n in self.held if n * 1_000_000 < time]
        self.held = [n for n in self.held if n * 1_000_000 >= time]
        return due


async def test_flink_watermarks_tell_a_sorter_when_to_stop_waiting() -> None:
    """Flink, "Streaming Analytics", "Watermarks": the stream sorter, with a bound that the disorder keeps to."""
    stream = Stream(ARRIVING).event_time(lambda n: n, 5, unit="s")
    assert await stream.key_by(lambda n: None).process(Sorter).collect() == sorted(ARRIVING)


async def test_flink_a_bound_that_is_too_short_lets_the_sorter_be_wrong() -> None:
    """Flink, "Streaming Analytics", "Latency vs. Completeness": quicker, and possibly wrong."""
    stream = Stream(ARRIVING).event_time(lambda n: n, 1, unit="s")
    found = await stream.key_by(lambda n: None).process(Sorter).collect()
    assert sorted(found) == sorted(ARRIVING) != found


async def test_flink_sliding_windows_of_a_day_every_quarter_are_ninety_six_for_each_event() -> None:
    """Flink, "Streaming Analytics", "Sliding Windows Make Copies". Here no copies, but as many results."""
    found = await timed([Event(0)]).window(Sliding(DAY, every=15 * MINUTE)).count().collect()
    assert len(found) == 96


async def test_flink_no_results_for_empty_windows() -> None:
    """Flink, "Streaming Analytics", "No Results for Empty TimeWindows"."""
    found = await timed([Event(0), Event(10 * HOUR)]).window(Tumbling(HOUR)).count().collect()
    assert [span(f.window, HOUR) for f in found] == [(0, 1), (10, 11)]


@both
@pytest.mark.parametrize(("began", "closes"), [("12:05", ["13:00", "14:00"]), ("09:15", ["10:00", "11:00"])])
def test_flink_hours_by_the_clock_end_at_the_full_hour(began: str, closes: list[str], loop: Any) -> None:
    """Flink, "Streaming Analytics" (an application started at 12:05) and "Timely Stream Processing" (at 9:15)."""
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=clock(began))
    items = (At(MINUTE), Event(0, None, "a"), At(40 * MINUTE), Event(0, None, "b"))
    later = (At(60 * MINUTE), Event(0, None, "c"), At(120 * MINUTE))

    async def main() -> list[tuple[str, str, list[str]]]:
        found = []
        began_at = anyio.current_time()
        windows = played(*items, *later).window(Tumbling(HOUR, clock=True))
        async with windows.collect().open() as results:
            async for result in results:
                now = start + timedelta(seconds=round(anyio.current_time() - began_at, 6))
                found.append((f"{now:%H:%M}", to_clock(result.window.end), [e.value for e in result.value]))
        return found

    found = run_virtual(main, loop=loop, start=start).result
    first, second = closes
    assert found == [(first, first, ["a", "b"]), (second, second, ["c"])]


# Flink: Timely Stream Processing ----------------------------------------------------------------------------


class Watermarks(Process[None, Event, tuple[Any, float]]):
    """Tells the watermark that stands before each event, in seconds."""

    def event(self, event: Event, context: Context[None]) -> list[tuple[Any, float]]:
        return [(event.value, context.watermark / 1e6)]


@both
def test_flink_an_operators_time_is_the_lowest_of_its_inputs(loop: Any) -> None:
    """Flink, "Timely Stream Processing", "Watermarks in Parallel Streams": inputs at 29 and 14 make 14."""
    rows: list[tuple[Any, float]] = []
    upper = played(Event(29, None, "A"), At(3), Event(30, None, "B"), At(6))
    lower = played(
        At(1), Event(14, None, "F"), At(2), Event(15, None, "D"), At(4), Event(17, None, "G"), At(6)
    )

    async def main() -> None:
        one, two = (side.event_time(lambda e: e.time, unit="s") for side in (upper, lower))
        await one.merge(two).key_by(lambda e: None).process(Watermarks).tap(rows.append).count()

    run_virtual(main, loop=loop)
    # At D upper is at 29 and lower at 14; at B at 29 and 15; then lower has ended.
    assert dict(rows)["D"] == 14
    assert dict(rows)["B"] == 15
    assert dict(rows)["G"] == 15
    assert all(watermark <= 15 for _, watermark in rows)


# Flink: Working with State, Process Function ----------------------------------------------------------------

COUNTED = [(1, 3), (1, 5), (1, 7), (1, 4), (1, 2)]


class EveryTwo(Process[int, tuple[int, int], tuple[int, int]]):
    """Averages, in whole numbers, of two values at a time."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def event(self, event: tuple[int, int], context: Context[int]) -> list[tuple[int, int]] | None:
        self.values.append(event[1])
        if len(self.values) < 2:
            return None
        context.forget()
        return [(context.key, sum(self.values) // 2)]


async def test_flink_an_average_of_every_two_values() -> None:
    """Flink, "Working with State": the counting window of key 1 gives 4 and 5; the state is cleared each time."""
    keyed = Stream(COUNTED).key_by(lambda e: e[0])
    assert await keyed.process(EveryTwo).collect() == [(1, 4), (1, 5)]


async def test_flink_the_same_with_count_windows() -> None:
    """Flink, "Working with State". A count window of reactor also gives what isn't full at the end."""
    windows = Stream(COUNTED).key_by(lambda e: e[0]).window(Count(2))
    found = await windows.mean(lambda e: e[1]).collect()
    assert [(f.key, int(f.value)) for f in found] == [(1, 4), (1, 5), (1, 2)]


class Quiet(Process[str, Event, tuple[str, int]]):
    """Counts, and tells the count when nothing more has come for a minute."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0

    def event(self, event: Event, context: Context[str]) -> None:
        self.count += 1
        self.last = context.time
        context.at(context.time + MINUTE * 1_000_000)

    def timer(self, time: int, context: Context[str]) -> list[tuple[str, int]]:
        return [(context.key, self.count)] if time == self.last + MINUTE * 1_000_000 else []


async def test_flink_a_count_when_a_key_has_been_quiet_for_a_minute() -> None:
    """Flink, "Process Function": timers of event time; those that an update has overtaken do nothing.

    The page gives no numbers. Flink's watermark says "up to and including", so that its timer of t fires with t;
    reactor's fires when no event before t is expected any more: a minute after the last one, here as there.
    """
    events = [Event(0, "a"), Event(30, "a"), Event(30, "b"), Event(90, "c"), Event(95, "b")]
    found = await timed(events).key_by(lambda e: e.key).process(Quiet).collect()
    assert found == [("a", 2), ("b", 1), ("c", 1), ("b", 2)]
