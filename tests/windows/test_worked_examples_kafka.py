"""Worked examples of windows and joins from the documentation of Kafka Streams.

Each docstring names its page; the numbers are the page's. Where reactor means to differ, it says so.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from reactor import Interval, Session, Sliding, Stream, Tumbling
from tests.windows.worked import HOUR, MINUTE, Event, clock, hours, span, timed, values, with_late

pytestmark = pytest.mark.anyio


# Kafka Streams: Streams DSL ---------------------------------------------------------------------------------


async def test_kafka_rolling_aggregation() -> None:
    """Kafka Streams, "Streams DSL", "Example of semantics for stream aggregations": six records, six updates."""
    words = ["hello", "kafka", "streams", "kafka", "kafka", "streams"]
    keyed = Stream([(word, 1) for word in words]).key_by(lambda e: e[0])
    assert await keyed.scan(lambda total, e: total + e[1], 0).collect() == [
        ("hello", 1),
        ("kafka", 1),
        ("streams", 1),
        ("kafka", 2),
        ("kafka", 3),
        ("streams", 2),
    ]


@pytest.mark.parametrize(
    ("assigner", "expected"),
    [
        (Sliding(5, every=3), [(-3, 2), (0, 5), (3, 8), (6, 11)]),
        (Tumbling(5), [(0, 5), (5, 10)]),
    ],
)
async def test_kafka_windows_are_aligned_to_the_epoch(
    assigner: Tumbling | Sliding, expected: list[tuple[float, float]]
) -> None:
    """Kafka Streams, "Streams DSL", "Hopping time windows": 5000 ms by 3000 ms are [0;5000), [3000;8000), ...

    Kafka's first window starts at 0. reactor's windows reach back before the epoch, as Flink's do: [-3000;2000).
    """
    events = [Event(t / 1000) for t in (0, 4999, 5000, 7999)]
    found = await timed(events).window(assigner).count().collect()
    assert [span(f.window) for f in found] == expected


async def test_kafka_session_windows() -> None:
    """Kafka Streams, "Streams DSL", "Session Windows": six records, two of them out of order, gap 5 minutes.

    Green: 0, 6 and, late, 4: one session of three. Blue: 2, extended by the late 5, and 11 of its own. Kafka ends
    a session at its last record; reactor's window ends a gap later, as Flink's does.
    """
    records = [(0, "green"), (6, "green"), (2, "blue"), (4, "green"), (5, "blue"), (11, "blue")]
    events = [Event(minute * MINUTE, key) for minute, key in records]
    windows = timed(events, 5 * MINUTE).key_by(lambda e: e.key).window(Session(5 * MINUTE))
    found = sorted((f.key, span(f.window, MINUTE), f.value) for f in await windows.count().collect())
    assert found == [("blue", (2, 10), 2), ("blue", (11, 16), 1), ("green", (0, 11), 3)]


async def test_kafka_sessions_after_three_records() -> None:
    """Kafka Streams, "Streams DSL", "Session Windows": after the first three there are three sessions.

    Kafka's records at 0 and 6 are more than 5 minutes apart. So they are in reactor.
    """
    events = [Event(0, "green"), Event(6 * MINUTE, "green"), Event(2 * MINUTE, "blue")]
    windows = timed(events, 5 * MINUTE).key_by(lambda e: e.key).window(Session(5 * MINUTE))
    found = sorted((f.key, f.window.start // 60_000_000, f.value) for f in await windows.count().collect())
    assert found == [("blue", 2, 1), ("green", 0, 1), ("green", 6, 1)]


async def test_kafka_final_results_of_an_hour_with_ten_minutes_grace() -> None:
    """Kafka Streams, "Streams DSL", "Window Final Results": 09:00 to 10:00 takes records until 10:10.

    With ``suppress`` Kafka waits for the grace to be over. In reactor that is the out-of-order bound: one result,
    ten minutes later.
    """
    arrivals = ["09:00", "09:30", "10:05", "09:59", "10:09:59", "09:45", "10:10", "09:50"]
    events = [Event(clock(at), None, at) for at in arrivals]
    found, late = await with_late(timed(events, 10 * MINUTE).window(Tumbling(HOUR)).count())
    assert [(hours(f.window), f.value) for f in found] == [("09:00 10:00", 4), ("10:00 11:00", 3)]
    assert [e.value for e in late] == ["09:50"]


async def test_kafka_alert_on_users_with_fewer_than_three_events_in_an_hour() -> None:
    """Kafka Streams, "Streams DSL", "Window Final Results": only a final count can be too small."""
    counts = {"U": 10, "V": 2, "W": 3}
    events = [Event(n * MINUTE, user) for n in range(10) for user, count in counts.items() if n < count]
    windows = timed(events).key_by(lambda e: e.key).window(Tumbling(HOUR))
    alerts = windows.count().filter(lambda f: f.value < 3)
    assert [(f.key, f.value) for f in await alerts.collect()] == [("V", 2)]


STREAMS = [(3, "A", 0), (4, "a", 1), (5, "B", 0), (6, "b", 1), (9, "C", 0), (10, "c", 1), (14, "d", 1)]
STREAMS += [(15, "D", 0), (40, "E", 0), (60, "F", 0), (80, "f", 1), (100, "G", 0)]
"""Second, value and side of the records of the table; those with null as value are ignored, as Kafka does."""

INNER = {
    *{("A", "a"), ("B", "a"), ("A", "b"), ("B", "b"), ("C", "a"), ("C", "b"), ("A", "c"), ("B", "c")},
    *{("C", "c"), ("A", "d"), ("B", "d"), ("C", "d"), ("D", "a"), ("D", "b"), ("D", "c"), ("D", "d")},
}
ALONE_LEFT = {("E", None), ("F", None), ("G", None)}


async def kafka_join(width: float, how: Any) -> list[tuple[Any, Any]]:
    lefts, rights = ([Event(t, None, v) for t, v, s in STREAMS if s == side] for side in (0, 1))
    left, right = (timed(side).key_by(lambda e: e.key) for side in (lefts, rights))
    return values(await left.join(right, Interval(before=width, after=width), how=how).collect())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", INNER),
        ("left", INNER | ALONE_LEFT),
        ("outer", INNER | ALONE_LEFT | {(None, "f")}),
    ],
)
async def test_kafka_stream_stream_join(how: str, expected: set[tuple[Any, Any]]) -> None:
    """Kafka Streams, "Streams DSL", "Semantics of stream-stream joins": all rows of the table, with 15 seconds.

    The page says 10 seconds, but its rows join A at 3 with d at 14, and D at 15 with a at 4: that takes more. The
    last row shows no [G, null], because there the stream isn't over; ours is.
    """
    found = await kafka_join(15, how)
    assert set(found) == expected
    assert len(found) == len(expected)


async def test_kafka_stream_stream_join_of_ten_seconds() -> None:
    """Kafka Streams, the same table, with the 10 seconds of its text: what is 11 seconds apart isn't joined."""
    assert set(await kafka_join(10, "inner")) == INNER - {("A", "d"), ("D", "a")}


CHANGELOG = [(4, "a"), (6, "b"), (8, None), (10, "c"), (11, None), (13, None), (14, "d")]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("inner", [("B", "a"), ("D", "d")]), ("left", [("A", None), ("B", "a"), ("C", None), ("D", "d")])],
)
async def test_kafka_stream_table_join(how: Any, expected: list[tuple[Any, Any]]) -> None:
    """Kafka Streams, "Streams DSL", "Semantics of stream-table joins": only the left side gives results.

    Kafka takes a null in the table for a deletion. To reactor it is a change like others: an inner join shows it,
    and the filter drops it.
    """
    stream = [Event(at, None, value) for at, value in ((3, "A"), (5, "B"), (9, "C"), (15, "D"))]
    changes = [Event(at, None, value) for at, value in CHANGELOG]
    left, right = (timed(side).key_by(lambda e: e.key) for side in (stream, changes))
    joined = left.join_table(right, how=how)
    if how == "inner":
        joined = joined.filter(lambda j: j.right.value is not None)
    assert values(await joined.collect()) == expected


async def test_kafka_a_versioned_table_is_asked_as_of_the_records_time() -> None:
    """Kafka Streams, "Streams DSL", stream-table join: latest by time, less than or equal to the stream record's.

    A change that comes after the record, but is older than it, is found within the grace (reactor: the bound).
    """
    stream = [Event(5, None, "at 5"), Event(20, None, "at 20")]
    changes = [Event(2, None, "two"), Event(9, None, "nine"), Event(5, None, "five")]
    left = timed(stream).key_by(lambda e: e.key)
    right = timed(changes, 10).key_by(lambda e: e.key)
    assert values(await left.join_table(right).collect()) == [("at 5", "five"), ("at 20", "nine")]


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        (Interval(before=10, after=10), ["10 before", "at once", "10 after"]),
        (Interval(after=10), ["at once", "10 after"]),
        (Interval(before=10), ["10 before", "at once"]),
    ],
)
async def test_kafka_join_windows_may_look_one_way_only(within: Interval, expected: list[str]) -> None:
    """Kafka Streams, Javadoc of JoinWindows: stream1.ts - before <= stream2.ts <= stream1.ts + after."""
    others = [(19, "11 before"), (20, "10 before"), (30, "at once"), (40, "10 after"), (41, "11 after")]
    left = timed([Event(30)]).key_by(lambda e: None)
    right = timed([Event(at, None, text) for at, text in others]).key_by(lambda e: None)
    found = sorted(await left.join(right, within).collect(), key=lambda j: j.right.time)
    assert [j.right.value for j in found] == expected


async def test_kafka_a_record_between_two_sessions_makes_them_one() -> None:
    """Kafka Streams, Javadoc of SessionWindows: gap 5, records at 10, 12 and 20 are two sessions; then one at 16.

    Kafka updates its table at once. reactor gives the two when they are complete and, as the record is still
    allowed, the one that they have become, with all four values.
    """
    events = [Event(10, "A", 1), Event(12, "A", 2), Event(20, "A", 3), Event(30, "B"), Event(16, "A", 4)]
    windows = timed(events).key_by(lambda e: e.key).window(Session(5), lateness=60)
    found = [
        (span(f.window), [e.value for e in f.value])
        for f in await windows.collect().collect()
        if f.key == "A"
    ]
    assert found == [((10, 17), [1, 2]), ((20, 25), [3]), ((10, 25), [1, 2, 3, 4])]


async def test_kafka_sliding_windows_are_the_contents_of_windows_that_slide_by_the_smallest_step() -> None:
    """Kafka Streams, Javadoc of SlidingWindows: a difference of 5000 ms, records at 8000, 9200 and 12400.

    Kafka's sliding windows follow the records and include both bounds: one for each different content. reactor's
    stand on a grid; with a step of 1 ms and a size of 5001 ms the same contents come, one after the other, each
    as often as there are windows that have it.
    """
    events = [Event(8, "A", 1), Event(9.2, "A", 2), Event(12.4, "A", 3)]
    windows = timed(events).key_by(lambda e: e.key).window(Sliding(5.001, every=0.001))
    found = [([e.value for e in f.value], span(f.window)[0]) for f in await windows.collect().collect()]
    contents = [(values, next(iter(group))[1]) for values, group in groupby(found, key=lambda f: f[0])]
    assert contents == [([1], 3), ([1, 2], 4.2), ([1, 2, 3], 7.4), ([2, 3], 8.001), ([3], 9.201)]
