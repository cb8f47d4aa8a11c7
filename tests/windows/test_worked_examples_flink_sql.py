"""Worked examples of windowing functions from the documentation of Flink SQL.

Each docstring names its page; the numbers are the page's. Where reactor means to differ, it says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from reactor import Early, Pipeline, Session, Sliding, Stream, Tumbling, Windowed, aggregates
from reactor.testing import At, run_virtual
from tests.windows.worked import MINUTE, Event, both, clock, hours, played, timed, value_of

pytestmark = pytest.mark.anyio


# Flink: Windowing table-valued functions --------------------------------------------------------------------

BIDS = [
    Event(clock(at), item, Decimal(price))
    for at, price, item in (
        ("08:05", "4.00", "C"),
        ("08:07", "2.00", "A"),
        ("08:09", "5.00", "D"),
        ("08:11", "3.00", "B"),
        ("08:13", "1.00", "E"),
        ("08:17", "6.00", "F"),
    )
]


async def test_flink_tumble_gives_a_sum_for_each_ten_minutes() -> None:
    """Flink, "Windowing TVF": TUMBLE. The result's time is the window's end less its smallest unit (here 1 us)."""
    found = await timed(BIDS, 1).window(Tumbling(10 * MINUTE)).sum(lambda e: e.value).collect()
    assert [(hours(f.window), f.value) for f in found] == [("08:00 08:10", 11), ("08:10 08:20", 10)]
    assert [f.time - f.window.end for f in found] == [-1, -1]


async def test_flink_hop_puts_each_bid_into_two_windows() -> None:
    """Flink, "Windowing TVF": HOP, with 10 minutes every 5."""
    windows = timed(BIDS, 1).window(Sliding(10 * MINUTE, every=5 * MINUTE))
    found = await windows.aggregate(aggregates.Sum(lambda e: e.value), aggregates.Collect()).collect()
    assert [(hours(f.window), f.value[0], "".join(e.key for e in f.value[1])) for f in found] == [
        ("08:00 08:10", 11, "CAD"),
        ("08:05 08:15", 15, "CADBE"),
        ("08:10 08:20", 10, "BEF"),
        ("08:15 08:25", 6, "F"),
    ]


@both
def test_flink_cumulate_is_early_results_of_a_window(loop: Any) -> None:
    """Flink, "Windowing TVF": CUMULATE, steps of 2 minutes in windows of 10.

    reactor has no such windows: it says the same with early results, which have the whole window's bounds. They
    go by the clock, so the bids come here when they happen; a step without a new bid gives no result.
    """
    start = datetime(2020, 4, 15, 8, tzinfo=UTC)
    bids = [part for bid in BIDS for part in (At(bid.time - clock("08:00")), bid)]

    async def main() -> list[tuple[str, Decimal]]:
        stream = played(*bids, At(20 * MINUTE)).event_time(lambda e: e.time, unit="s")
        windows = stream.window(Tumbling(10 * MINUTE), early=Early(seconds=MINUTE))
        return [(hours(f.window), f.value) for f in await windows.sum(lambda e: e.value).collect()]

    found = run_virtual(main, loop=loop, start=start).result
    assert found == [
        ("08:00 08:10", 4),
        ("08:00 08:10", 6),
        ("08:00 08:10", 11),
        ("08:00 08:10", 11),
        ("08:10 08:20", 3),
        ("08:10 08:20", 4),
        ("08:10 08:20", 10),
        ("08:10 08:20", 10),
    ]


async def test_flink_session_for_each_item() -> None:
    """Flink, "Windowing TVF": SESSION with PARTITION BY item, a gap of 5 minutes, the bids out of order."""
    found = await sessions().key_by(lambda e: e.key).window(Session(5 * MINUTE)).sum(value_of).collect()
    assert [(hours(f.window), f.key, f.value) for f in found] == [
        ("08:06 08:13", "A", 9),
        ("08:09 08:14", "B", 5),
        ("08:17 08:22", "B", 1),
    ]


async def test_flink_session_of_all_items() -> None:
    """Flink, "Windowing TVF": SESSION without PARTITION BY."""
    found = await sessions().window(Session(5 * MINUTE)).sum(value_of).collect()
    assert [(hours(f.window), f.value) for f in found] == [("08:06 08:14", 14), ("08:17 08:22", 1)]


def sessions() -> Stream[Event]:
    bids = (("08:07", 4, "A"), ("08:06", 2, "A"), ("08:09", 5, "B"), ("08:08", 3, "A"), ("08:17", 1, "B"))
    return timed([Event(clock(at), item, price) for at, price, item in bids], MINUTE)


@pytest.mark.parametrize(
    ("offset", "start"), [(-16, -6), (-6, -6), (-4, -4), (0, 0), (4, -6), (6, -4), (16, -4)]
)
async def test_flink_offset_moves_windows(offset: int, start: int) -> None:
    """Flink, "Windowing TVF", "Window Offset": a record 4 s after midnight, windows of 10 minutes, in minutes."""
    midnight = datetime(2021, 6, 30, tzinfo=UTC)
    stream = Stream([midnight + timedelta(seconds=4)]).event_time(lambda at: at)
    assigner = Tumbling(10 * MINUTE, offset=offset * MINUTE)
    (found,) = await stream.window(assigner).count().collect()
    assert found.window.starts_at == midnight + timedelta(minutes=start)
    assert found.window.ends_at == midnight + timedelta(minutes=start + 10)


async def test_flink_offset_of_one_minute() -> None:
    """Flink, "Windowing TVF", "Window Offset": TUMBLE with an offset of a minute over the bids."""
    windows = timed(BIDS, 1).window(Tumbling(10 * MINUTE, offset=MINUTE))
    found = await windows.sum(lambda e: e.value).collect()
    assert [(hours(f.window), f.value) for f in found] == [("08:01 08:11", 11), ("08:11 08:21", 10)]


# Flink: Window Top-N ----------------------------------------------------------------------------------------

SALES = [
    Event(clock(at), (item, supplier), price)
    for at, price, item, supplier in (
        ("08:05", 4, "A", "supplier1"),
        ("08:06", 4, "C", "supplier2"),
        ("08:07", 2, "G", "supplier1"),
        ("08:08", 2, "B", "supplier3"),
        ("08:09", 5, "D", "supplier4"),
        ("08:11", 2, "B", "supplier3"),
        ("08:13", 1, "E", "supplier1"),
        ("08:15", 3, "H", "supplier2"),
        ("08:17", 6, "F", "supplier5"),
    )
]


async def test_flink_the_three_suppliers_that_sell_most() -> None:
    """Flink, "Window Top-N": after a window aggregation, for each 10 minutes."""
    by_supplier = timed(SALES, 1).key_by(lambda e: e.key[1]).window(Tumbling(10 * MINUTE))
    sold = by_supplier.aggregate(aggregates.Sum(lambda e: e.value), aggregates.Count())
    found = await sold.window(Tumbling(10 * MINUTE)).top(3, by=lambda f: f.value[0]).collect()
    assert [(hours(f.window), [(w.key, *w.value) for w in f.value]) for f in found] == [
        ("08:00 08:10", [("supplier1", 6, 2), ("supplier4", 5, 1), ("supplier2", 4, 1)]),
        ("08:10 08:20", [("supplier5", 6, 1), ("supplier2", 3, 1), ("supplier3", 2, 1)]),
    ]


async def test_flink_the_three_highest_bids() -> None:
    """Flink, "Window Top-N": directly on the bids."""
    found = await timed(SALES, 1).window(Tumbling(10 * MINUTE)).top(3, by=lambda e: e.value).collect()
    assert [(hours(f.window), [e.key[0] for e in f.value]) for f in found] == [
        ("08:00 08:10", ["D", "A", "C"]),
        ("08:10 08:20", ["F", "H", "B"]),
    ]


# Flink: Window Aggregation, Window Deduplication -----------------------------------------------------------

SUPPLIERS = dict(zip("CADBEF", ("one", "one", "two", "two", "one", "two"), strict=True))
"""Who makes the items of ``BIDS``."""


def supplier(bid: Event) -> str:
    return SUPPLIERS[bid.key]


async def test_flink_grouping_sets_are_two_windows_of_one_stream() -> None:
    """Flink, "Window Aggregation", "GROUPING SETS": by supplier, and of all of them, for each 10 minutes."""
    bids, found = timed(BIDS, 1), list[tuple[str, str | None, Decimal]]()

    def keep(result: Windowed[Any, Decimal]) -> None:
        found.append((hours(result.window), result.key, result.value))

    by_supplier = bids.key_by(supplier).window(Tumbling(10 * MINUTE)).sum(value_of)
    of_all = bids.window(Tumbling(10 * MINUTE)).sum(value_of)
    await Pipeline("p", by_supplier.to(keep), of_all.to(keep)).run()
    assert sorted(found, key=str) == [
        ("08:00 08:10", "one", 6),
        ("08:00 08:10", "two", 5),
        ("08:00 08:10", None, 11),
        ("08:10 08:20", "one", 1),
        ("08:10 08:20", "two", 9),
        ("08:10 08:20", None, 10),
    ]


async def test_flink_cascading_windows() -> None:
    """Flink, "Window Aggregation", "Cascading Window Aggregation": 5 minutes by supplier, then 10 of all."""
    partial = timed(BIDS, 1).key_by(supplier).window(Tumbling(5 * MINUTE)).sum(value_of)
    found = await partial.window(Tumbling(10 * MINUTE)).sum(lambda f: f.value).collect()
    assert [(hours(f.window), f.value) for f in found] == [("08:00 08:10", 11), ("08:10 08:20", 10)]


async def test_flink_a_row_is_in_three_hopping_windows() -> None:
    """Flink, "Window Aggregation", "Group Window Functions": HOP of 15 minutes by 5."""
    found = (
        await timed([Event(clock("08:07"))]).window(Sliding(15 * MINUTE, every=5 * MINUTE)).count().collect()
    )
    assert [hours(f.window) for f in found] == ["07:55 08:10", "08:00 08:15", "08:05 08:20"]


async def test_flink_the_last_bid_of_each_window() -> None:
    """Flink, "Window Deduplication": the row with the latest time in each 10 minutes."""
    found = await timed(SALES, 1).window(Tumbling(10 * MINUTE)).max(lambda e: (e.time, e.key)).collect()
    assert [(hours(f.window), f.value[1]) for f in found] == [
        ("08:00 08:10", ("D", "supplier4")),
        ("08:10 08:20", ("F", "supplier5")),
    ]
