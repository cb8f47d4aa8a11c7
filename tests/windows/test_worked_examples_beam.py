"""Worked examples of windows, watermarks and triggers from the documentation of Apache Beam.

Each docstring names its page; the numbers are the page's. Where reactor means to differ, it says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from reactor import Early, Global, Sliding, Stream, Tumbling, aggregates
from reactor.testing import At, run_virtual
from tests.windows.worked import (
    DAY,
    HOUR,
    MINUTE,
    Event,
    both,
    clock,
    joined_within,
    played,
    span,
    timed,
    value_of,
    with_late,
)

pytestmark = pytest.mark.anyio


# Beam: Programming Guide ------------------------------------------------------------------------------------


async def test_beam_fixed_windows_of_thirty_seconds() -> None:
    """Beam, "Programming Guide", "Fixed time windows": [0:00:00, 0:00:30), then [0:00:30, 0:01:00)."""
    found = await timed(map(Event, (0, 29, 30, 59.999999, 60))).window(Tumbling(30)).count().collect()
    assert [(span(f.window), f.value) for f in found] == [((0, 30), 2), ((30, 60), 2), ((60, 90), 1)]


async def test_beam_sliding_windows_of_a_minute_every_thirty_seconds() -> None:
    """Beam, "Programming Guide", "Sliding time windows": each element is in two."""
    found = await timed([Event(45)]).window(Sliding(60, every=30)).count().collect()
    assert [span(f.window) for f in found] == [(0, 60), (30, 90)]


async def test_beam_a_record_behind_the_watermark_is_late() -> None:
    """Beam, "Programming Guide", "Watermarks and late data": a lag of 30 s closes the first window at 5:30.

    A record of 3:38 is late then, as it arrives at 5:34. (The guide's watermark follows the clock; here an event
    of 5:30 moves it.)
    """
    events = [Event(100, None, "1:40"), Event(329, None, "5:29"), Event(218, None, "3:38 at 5:29")]
    events += [Event(330, None, "5:30"), Event(218, None, "3:38")]
    found, late = await with_late(timed(events, 30).window(Tumbling(300)).collect())
    assert [[e.value for e in f.value] for f in found] == [["1:40", "3:38 at 5:29"], ["5:29", "5:30"]]
    assert [e.value for e in late] == ["3:38"]


async def test_beam_late_data_up_to_two_days_after_its_window() -> None:
    """Beam, "Programming Guide", "Managing late data": windows of a minute, two days allowed."""
    late_by = [0, MINUTE + 2 * DAY - 1, MINUTE + 2 * DAY]
    events = [e for by in late_by for e in (Event(by), Event(30, None, by))]
    found, late = await with_late(timed(events).window(Tumbling(MINUTE), lateness=2 * DAY).count())
    assert [f.value for f in found if span(f.window) == (0, 60)] == [2, 3]
    assert [e.value for e in late] == [MINUTE + 2 * DAY]


TRIGGERED = [Event(n * 50, "X", value) for n, value in enumerate((5, 8, 3, 15, 19, 23, 9, 13, 10))]


async def test_beam_accumulating_mode() -> None:
    """Beam, "Programming Guide", "Accumulating mode": 10 minutes, a result every three elements.

    The guide's trigger fires by count only. In reactor early results come before the one of the watermark, which
    tells all of the window once more.
    """
    windows = timed(TRIGGERED).key_by(lambda e: e.key).window(Tumbling(600), early=Early(events=3))
    found = await windows.collect().collect()
    assert [[e.value for e in f.value] for f in found] == [
        [5, 8, 3],
        [5, 8, 3, 15, 19, 23],
        [5, 8, 3, 15, 19, 23, 9, 13, 10],
        [5, 8, 3, 15, 19, 23, 9, 13, 10],
    ]


async def test_beam_discarding_mode() -> None:
    """Beam, "Programming Guide", "Discarding mode": each element is in one result."""
    windows = timed(TRIGGERED).key_by(lambda e: e.key)
    found = await windows.window(Tumbling(600), early=Early(events=3), accumulating=False).collect().collect()
    assert [[e.value for e in f.value] for f in found] == [[5, 8, 3], [15, 19, 23], [9, 13, 10]]


@pytest.mark.parametrize(
    ("accumulating", "expected"), [(True, [5.333, 12.167, 11.667, 11.667]), (False, [5.333, 19, 10.667])]
)
async def test_beam_averages_differ_by_the_mode(accumulating: bool, expected: list[float]) -> None:
    """Dataflow SDK (Beam's first one), "Triggers", "Effects of Accumulating vs. Discarding"."""
    windows = timed(TRIGGERED).window(Tumbling(600), early=Early(events=3), accumulating=accumulating)
    found = await windows.mean(lambda e: e.value).collect()
    assert [round(f.value, 3) for f in found] == expected


async def test_beam_co_group_by_key_is_an_outer_join_in_pairs() -> None:
    """Beam, "Programming Guide", "CoGroupByKey": emails and phones by name.

    reactor's join gives each pair of a window instead of two lists.
    """
    emails = [("amy", "amy@example.com"), ("carl", "carl@example.com"), ("julia", "julia@example.com")]
    emails.append(("carl", "carl@email.com"))
    phones = [("amy", "111-222-3333"), ("james", "222-333-4444"), ("amy", "333-444-5555")]
    phones.append(("carl", "444-555-6666"))
    sides = [[Event(0, name, text) for name, text in side] for side in (emails, phones)]
    grouped: dict[str, tuple[set[str], set[str]]] = {}
    for f in await joined_within(Tumbling(1), *sides, "outer"):
        for found, event in zip(grouped.setdefault(f.key, (set(), set())), f.value, strict=True):
            found |= {event.value} if event is not None else set()
    assert grouped == {
        "amy": ({"amy@example.com"}, {"111-222-3333", "333-444-5555"}),
        "carl": ({"carl@email.com", "carl@example.com"}, {"444-555-6666"}),
        "james": (set(), {"222-333-4444"}),
        "julia": ({"julia@example.com"}, set()),
    }


# Beam: TriggerExample ---------------------------------------------------------------------------------------

FLOW = [
    (50, "10:00:03", "10:00:47"),
    (30, "10:01:00", "10:01:03"),
    (30, "10:02:00", "11:07:00"),
    (20, "10:04:10", "10:05:15"),
    (60, "10:05:00", "11:03:00"),
    (20, "10:05:01", "11:07:30"),
    (60, "10:15:00", "10:27:15"),
    (40, "10:26:40", "10:26:43"),
    (60, "10:27:20", "10:27:25"),
    (60, "10:29:00", "11:11:00"),
]
"""Total flow on freeway 5, event time, processing time."""


def freeway() -> Stream[Event]:
    """The readings as they arrive, with the example's watermark: 15 minutes behind the clock.

    Events of another freeway carry it: one that happens at each moment at which something arrives.
    """
    events: list[tuple[int, int, Event]] = []
    for flow, happened, arrived in FLOW:
        events.append((clock(arrived), 1, Event(clock(happened), 5, flow)))
        events.append((clock(arrived), 0, Event(clock(arrived), 0, 0)))
    events.append((clock("10:45"), 0, Event(clock("10:45"), 0, 0)))
    return timed([event for _, _, event in sorted(events)], 15 * MINUTE)


Totals = aggregates.Sum(value_of), aggregates.Count()


async def test_beam_default_trigger_drops_what_is_late() -> None:
    """Beam, TriggerExample, concept 1: one result, 260 of 6 records; the four that arrive after 11:00 are late."""
    results = freeway().key_by(lambda e: e.key).window(Tumbling(30 * MINUTE)).aggregate(*Totals)
    found, late = await with_late(results)
    assert [f.value for f in found if f.key == 5] == [(260, 6)]
    assert [e.value for e in late] == [60, 30, 20, 60]


async def test_beam_late_data_in_results_of_its_own() -> None:
    """Beam, TriggerExample, concept 2: a day allowed, discarding: 260 on time, then 60, 30, 20 and 60."""
    windows = (
        freeway().key_by(lambda e: e.key).window(Tumbling(30 * MINUTE), lateness=DAY, accumulating=False)
    )
    found, late = await with_late(windows.aggregate(*Totals))
    assert [f.value for f in found if f.key == 5] == [(260, 6), (60, 1), (30, 1), (20, 1), (60, 1)]
    assert late == []


@both
def test_beam_speculative_results_then_one_on_time_then_late_ones(loop: Any) -> None:
    """Beam, TriggerExample, concept 4: early results a minute after the first new reading, accumulating.

    80, 100 and 260 are early there and here. Then the example's trigger waits for late data, and for 5 minutes
    more, so that its results are 320 and 430. reactor fires on time, and again for each late event, as Flink does:
    260, 320, 350, 370, 430.
    """
    start = datetime(2024, 1, 1, 10, tzinfo=UTC)
    arriving = sorted((clock(arrived), clock(happened), flow) for flow, happened, arrived in FLOW)
    items: list[Any] = []
    for arrived, happened, flow in arriving:
        items += [At(arrived - 10.0 * HOUR), Event(arrived, 0, 0), Event(happened, 5, flow)]
    items.insert(items.index(At(63.0 * MINUTE)), At(45.0 * MINUTE))
    items.insert(items.index(At(63.0 * MINUTE)), Event(clock("10:45"), 0, 0))

    async def main() -> list[tuple[int, int]]:
        stream = played(*items).event_time(lambda e: e.time, 15 * MINUTE, unit="s")
        keyed = stream.key_by(lambda e: e.key)
        windows = keyed.window(Tumbling(30 * MINUTE), early=Early(seconds=MINUTE), lateness=DAY)
        return [f.value for f in await windows.aggregate(*Totals).collect() if f.key == 5]

    found = run_virtual(main, loop=loop, start=start).result
    assert found == [(80, 2), (100, 3), (260, 6), (260, 6), (320, 7), (350, 8), (370, 9), (430, 10)]


# Beam: Testing Unbounded Pipelines --------------------------------------------------------------------------

TEAM, ALLOWED = 20 * MINUTE, 10 * MINUTE
"""A team's window and its lateness; the post leaves them to the pipeline."""


async def scores(moves: list[tuple[str, int, float]]) -> tuple[list[int], int]:
    """Return the blue team's results, and how many moves were late; "" only moves the watermark."""
    events = [Event(time, team, score) for team, score, time in moves]
    windows = timed(events).key_by(lambda e: e.key).window(Tumbling(TEAM), lateness=ALLOWED)
    found, late = await with_late(windows.sum(value_of))
    return [f.value for f in found if f.key == "blue"], len(late)


async def test_beam_everything_arrives_on_time() -> None:
    """Beam, "Testing Unbounded Pipelines in Apache Beam": 12, 3 and 3 for the blue team make 18."""
    moves = [("blue", 12, 0), ("blue", 3, 0), ("blue", 3, 3 * MINUTE), ("", 0, TEAM + MINUTE)]
    assert await scores(moves) == ([18], 0)


async def test_beam_unobservably_late() -> None:
    """The same post: behind the watermark, which hasn't passed the window's end: still on time."""
    moves = [("blue", 3, 0), ("blue", 3, 3 * MINUTE), ("", 0, TEAM - MINUTE), ("blue", 12, 0)]
    assert await scores(moves) == ([18], 0)


async def test_beam_observably_late() -> None:
    """The same post: a pane of 6 on time, and the last one refines it to 18."""
    moves = [("blue", 3, 0), ("blue", 3, 3 * MINUTE), ("", 0, TEAM + MINUTE), ("blue", 12, 0)]
    assert await scores(moves) == ([6, 18], 0)


async def test_beam_droppably_late() -> None:
    """The same post: after the window's end and the allowed lateness it is dropped."""
    moves = [("blue", 3, 0), ("blue", 3, 3 * MINUTE), ("", 0, TEAM + ALLOWED + MINUTE)]
    assert await scores([*moves, ("blue", 12, TEAM - MINUTE)]) == ([6], 1)


@both
def test_beam_speculative_results_as_time_passes(loop: Any) -> None:
    """The same post: users' scores in the global window, 12 and then 15 minutes pass: 5, 9 and 2.

    The post leaves open after how long a result is due; here 10 minutes. reactor adds those of the end.
    """
    items = [Event(0, "scarlet", 3), Event(60, "scarlet", 2), At(12.0 * MINUTE)]
    items += [Event(22, "oxblood", 2), Event(120, "scarlet", 4), At(27.0 * MINUTE)]

    async def main() -> list[tuple[str, int]]:
        windows = played(*items).key_by(lambda e: e.key)
        early = windows.window(Global(), early=Early(seconds=10 * MINUTE)).sum(value_of)
        return [(f.key, f.value) for f in await early.collect()]

    found = run_virtual(main, loop=loop).result
    assert found[0] == ("scarlet", 5)
    assert sorted(found[1:3]) == [("oxblood", 2), ("scarlet", 9)]
    assert sorted(found[3:]) == [("oxblood", 2), ("scarlet", 9)]
