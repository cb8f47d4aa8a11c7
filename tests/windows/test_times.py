"""Event times: what counts as one, before the epoch and far from it; what fails, and where it goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from reactor import (
    ArgumentError,
    DeadLetter,
    DeadLetters,
    Fallback,
    Pipeline,
    Session,
    Skip,
    Sliding,
    Stream,
    Tumbling,
    aggregates,
)
from tests.windows.plans import Cut, late_of, run, us

pytestmark = pytest.mark.anyio

TEN = Tumbling(10)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
AWARE = datetime(2026, 1, 1, tzinfo=UTC)


def itself(event: Any) -> Any:
    return event


async def spans(stream: Stream[Any], window: Any = TEN) -> list[tuple[datetime, datetime, int]]:
    seen: list[Any] = []
    await run(Cut(), stream.window(window).count().to(seen.append))
    return [(result.window.starts_at, result.window.ends_at, result.value) for result in seen]


async def test_datetimes_of_any_zone_are_moments() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 1, 5, 30, 3, 141592, tzinfo=there)
    found = await spans(Stream([moment]).event_time(itself))
    assert found == [(AWARE, AWARE + timedelta(seconds=10), 1)]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
async def test_numbers_count_in_their_unit(unit: Any, factor: int) -> None:
    found = await spans(Stream([0, 9 * factor, 10 * factor]).event_time(itself, unit=unit))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ten = timedelta(seconds=10)
    assert found == [(epoch, epoch + ten, 2), (epoch + ten, epoch + 2 * ten, 1)]


async def test_fractions_of_seconds_count_to_the_microsecond() -> None:
    seen: list[Any] = []
    stream = Stream([0.1, 0.1000005, 0.100001, 0.3]).event_time(itself, unit="s")
    await run(Cut(), stream.window(Tumbling(us(1))).count().to(seen.append))
    # 0.1000005 s is rounded to the even microsecond.
    assert [(result.window.start, result.value) for result in seen] == [
        (100_000, 2),
        (100_001, 1),
        (300_000, 1),
    ]


async def test_times_before_the_epoch() -> None:
    old = datetime(1815, 12, 10, tzinfo=UTC)
    found = await spans(Stream([old, old - timedelta(microseconds=1)]).event_time(itself, 1))
    assert found == [(old - timedelta(seconds=10), old, 1), (old, old + timedelta(seconds=10), 1)]


@pytest.mark.parametrize(
    ("window", "starts"),
    [
        (Tumbling(us(10), offset=us(3)), [-7]),
        (Tumbling(us(10), offset=us(-7)), [-7]),
        (Tumbling(us(10), offset=us(23)), [-7]),
        (Sliding(us(10), us(5), offset=us(3)), [-7, -2]),
        (Sliding(us(10), us(4), offset=us(9)), [-7, -3]),
    ],
)
async def test_an_offset_shifts_the_windows(window: Any, starts: list[int]) -> None:
    seen: list[Any] = []
    await run(Cut(), Stream([-1]).event_time(itself, unit="us").window(window).count().to(seen.append))
    assert [result.window.start for result in seen] == starts


@pytest.mark.timeout(10)
@pytest.mark.parametrize("window", [TEN, Sliding(10, 1), Session(10), Tumbling(us(1))])
async def test_no_window_without_events_costs_anything(window: Any) -> None:
    """From the year 1 to the year 9999 there are 3 * 10^11 windows of a second."""
    ends = [
        datetime(1, 1, 3, tzinfo=UTC),
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 28, tzinfo=UTC),
    ]
    found = await spans(Stream(ends).event_time(itself), window)
    assert len(found) == (30 if isinstance(window, Sliding) else 3)


FAILING: list[tuple[Any, Any, str]] = [
    (NAIVE, None, r"datetime.datetime\(2026, 1, 1, 0, 0\) has no time zone; event times are aware datetimes"),
    (5, None, "5 is no datetime; for numbers say what they count"),
    (None, None, "None is no datetime"),
    (AWARE, "s", "is no time: event_time.unit='s'. takes finite numbers"),
    ("12", "s", "'12.*' is no time"),
    (math.nan, "s", "nan is no time: event_time.unit='s'. takes finite numbers"),
    (math.inf, "ms", "inf is no time"),
    (1.5, "us", "1.5 is no event time: whole microseconds since the epoch"),
    (math.nan, "us", "nan is no event time"),
    (True, "us", "True is no event time"),
    (10**20, "s", "is no time: event_time.unit=.s.. takes finite numbers"),
]


@pytest.mark.parametrize(("event", "unit", "says"), FAILING)
async def test_what_is_no_time_ends_the_run_and_says_why(event: Any, unit: Any, says: str) -> None:
    stream = Stream([event]).event_time(itself, unit=unit).window(TEN).count()
    with pytest.raises(ArgumentError, match=says) as raised:
        await stream.collect()
    assert ("event_time(" in raised.value.__notes__[0]) == (unit != "us")


async def test_an_event_without_a_time_is_skipped_buried_or_given_one() -> None:
    def counted(policy: Any) -> Stream[Any]:
        return Stream([AWARE, NAIVE]).event_time(itself, on_error=policy).window(TEN).count().map(_values)

    letters: list[DeadLetter] = []
    seen: list[Any] = []
    skipping = Pipeline("skip", counted(Skip()).to(seen.append))
    async with skipping.start() as done:
        await done.wait()
    assert [n for stage in done.metrics().stages for n in stage.dropped.values()] == [1]
    await Pipeline("bury", counted(DeadLetters()).to(seen.append), dead_letters=letters.append).run()
    await Pipeline("replace", counted(Fallback(lambda _: AWARE)).to(seen.append)).run()
    assert seen == [1, 1, 2]
    assert [(letter.event, letter.operator.partition("(")[0]) for letter in letters] == [
        (NAIVE, "event_time")
    ]
    assert "has no time zone" in letters[0].error


def _values(result: Any) -> Any:
    return result.value


@pytest.mark.parametrize("window", [TEN, Sliding(10, 5), Session(10)])
async def test_an_event_that_an_aggregate_fails_on_is_skipped_or_buried(window: Any) -> None:
    events = [(1, 1), (2, "x"), (3, 2)]

    def second(event: Any) -> Any:
        return event[1]

    def summed(policy: Any) -> Stream[Any]:
        stream = Stream(events).event_time(lambda event: event[0], unit="s")
        return stream.window(window, on_error=policy).sum(second).map(_values)

    letters: list[DeadLetter] = []
    seen: list[Any] = []
    await Pipeline("skip", summed(Skip()).to(seen.append)).run()
    expected = [3, 3] if isinstance(window, Sliding) else [3]
    assert seen == expected
    await Pipeline("bury", summed(DeadLetters()).to(seen.append), dead_letters=letters.append).run()
    assert seen == expected * 2
    assert [letter.event for letter in letters] == [(2, "x")]
    with pytest.raises(TypeError) as raised:
        await Stream(events).event_time(lambda event: event[0], unit="s").window(window).sum(second).collect()
    assert "event (2, 'x')" in raised.value.__notes__[0]


class Broken(aggregates.Count):
    def result(self, state: int) -> int:
        raise ValueError(state)


async def test_a_result_that_fails_ends_the_run_and_names_the_operator() -> None:
    stream = Stream([1, 2]).event_time(itself, unit="s").window(TEN).aggregate(Broken())
    with pytest.raises(ValueError, match="2") as raised:
        await stream.collect()
    assert "operator window(Tumbling(10)).broken()" in raised.value.__notes__[0]


async def test_a_key_that_fails_goes_the_way_of_the_window() -> None:
    letters: list[DeadLetter] = []
    seen: list[Any] = []
    make: Callable[[Any], Any] = lambda event: event["k"]  # noqa: E731
    keyed = Stream([{"k": 1}, {}]).event_time(lambda _: 1, unit="s").key_by(make)
    windows = keyed.window(TEN, on_error=DeadLetters()).count().map(_values)
    await Pipeline("bury", windows.to(seen.append), dead_letters=letters.append).run()
    assert (seen, [letter.event for letter in letters]) == ([1], [{}])


async def test_late_events_are_counted_where_nobody_reads_them() -> None:
    stream = Stream([1, 30, 2, 3]).event_time(itself, unit="s")
    unread = await run(Cut(), stream.window(TEN, name="ten").count().discard())
    (stage,) = (stage for stage in unread.metrics().stages if stage.late)
    assert (stage.late, stage.dropped) == (2, {"ten: late": 2})
    late: list[int] = []
    results = stream.window(TEN, name="ten").count()
    read = await run(Cut(), results.discard(), results.late.to(late.append))
    assert late == [2, 3]
    assert late_of(read) == 2
    assert all("ten: late" not in stage.dropped for stage in read.metrics().stages)
