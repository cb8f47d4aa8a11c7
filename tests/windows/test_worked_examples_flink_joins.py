"""Worked examples of joins and top-n from the documentation of Apache Flink.

Each docstring names its page; the numbers are the page's. Where reactor means to differ, it says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from reactor import Interval, Session, Sliding, Tumbling, Windowed
from reactor.testing import At, run_virtual
from tests.windows.worked import (
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
    values,
)

pytestmark = pytest.mark.anyio


# Flink: Window Join, Joining --------------------------------------------------------------------------------

LEFT = [Event(clock("12:02"), 1, "L1"), Event(clock("12:06"), 2, "L2"), Event(clock("12:03"), 3, "L3")]
RIGHT = [Event(clock("12:01"), 2, "R2"), Event(clock("12:04"), 3, "R3"), Event(clock("12:05"), 4, "R4")]


async def table(how: str, out_of_order: float) -> list[tuple[Any, Any, str]]:
    found = await joined_within(Tumbling(5 * MINUTE), LEFT, RIGHT, how, out_of_order)
    rows = [(f.value[0] and f.value[0].value, f.value[1] and f.value[1].value, f.window) for f in found]
    return sorted(((a, b, hours(window)) for a, b, window in rows), key=str)


async def test_flink_full_window_join() -> None:
    """Flink, "Window Join": FULL JOIN in windows of 5 minutes; L2 and R2 are in different ones.

    The rows stand in the page's table in an order that isn't that of time (12:06 before 12:03), with a watermark
    a second behind; as a stream L3 would be late, so the bound here covers it.
    """
    assert await table("outer", 5 * MINUTE) == [
        ("L1", None, "12:00 12:05"),
        ("L2", None, "12:05 12:10"),
        ("L3", "R3", "12:00 12:05"),
        (None, "R2", "12:00 12:05"),
        (None, "R4", "12:05 12:10"),
    ]


async def test_flink_semi_and_anti_window_join_come_of_a_left_join() -> None:
    """Flink, "Window Join": SEMI (a match on the right) and ANTI (none), which reactor says with how="left"."""
    rows = await table("left", 5 * MINUTE)
    assert [a for a, b, _ in rows if b is not None] == ["L3"]
    assert [a for a, b, _ in rows if b is None] == ["L1", "L2"]


def numbers(*moments: int) -> list[Event]:
    """Return events of the pictures in "Joining": the value is the time, in milliseconds."""
    return [Event(n / 1000, None, n) for n in moments]


def text(found: Iterable[Windowed[Any, Any]]) -> dict[tuple[float, float], list[str]]:
    """Return for each window the pairs as the pictures write them."""
    out: dict[tuple[float, float], list[str]] = {}
    for f in found:
        out.setdefault(span(f.window, 0.001), []).append(f"{f.value[0].value},{f.value[1].value}")
    return {window: sorted(pairs) for window, pairs in out.items()}


async def test_flink_tumbling_window_join() -> None:
    """Flink, "Joining", "Tumbling Window Join": windows of 2 ms; 6 and 7 of the left side find nothing.

    (Of the numbers the page's text names only these; the others follow from the windows.)
    """
    found = await joined_within(Tumbling(0.002), numbers(0, 1, 2, 3, 4, 5, 6, 7), numbers(0, 1, 3, 4))
    assert text(found) == {
        (0, 2): ["0,0", "0,1", "1,0", "1,1"],
        (2, 4): ["2,3", "3,3"],
        (4, 6): ["4,4", "5,4"],
    }


async def test_flink_sliding_window_join() -> None:
    """Flink, "Joining", "Sliding Window Join": 2 ms every 1 ms; 2 finds 3 in [2,3], and nothing in [1,2].

    (Of the numbers the page's text names only these; the others follow from the windows.)
    """
    found = await joined_within(Sliding(0.002, every=0.001), numbers(0, 1, 2, 3, 4), numbers(0, 3, 4))
    windows = text(found)
    assert windows[2, 4] == ["2,3", "3,3"]
    assert (1, 3) not in windows
    assert windows == {
        (-1, 1): ["0,0"],
        (0, 2): ["0,0", "1,0"],
        (2, 4): ["2,3", "3,3"],
        (3, 5): ["3,3", "3,4", "4,3", "4,4"],
        (4, 6): ["4,4"],
    }


async def test_flink_session_window_join() -> None:
    """Flink, "Joining", "Session Window Join": a gap of 1 ms, three sessions, the third without a right side."""
    found = await joined_within(Session(0.001), numbers(1, 2, 5, 6, 8, 9), numbers(0, 4, 5))
    assert text(found) == {(0, 3): ["1,0", "2,0"], (4, 7): ["5,4", "5,5", "6,4", "6,5"]}


@pytest.mark.parametrize("step", [1, -1])
async def test_flink_interval_join(step: int) -> None:
    """Flink, "Joining", "Interval Join": right is from 2 ms before left to 1 ms after it, both inclusive.

    The picture is in order; within the bound the order of arrival changes nothing.
    """
    orange, green = numbers(0, 2, 3, 4, 5, 7)[::step], numbers(0, 1, 6, 7)[::step]
    left, right = (timed(side, 0.007).key_by(lambda e: e.key) for side in (orange, green))
    found = await left.join(right, Interval(before=0.002, after=0.001)).collect()
    pairs = sorted(values(found))
    assert pairs == [(0, 0), (0, 1), (2, 0), (2, 1), (3, 1), (5, 6), (7, 6), (7, 7)]
    assert all(j.time == max(j.left.value, j.right.value) * 1000 for j in found)


async def test_flink_orders_that_were_shipped_within_four_hours() -> None:
    """Flink, "Joins", "Interval Joins": the order was placed up to 4 hours before its shipment."""
    orders = [Event(clock(at), n, at) for n, at in ((1, "08:00"), (2, "08:30"), (3, "09:00"))]
    shipped = [Event(clock(at), n, at) for n, at in ((1, "12:00"), (2, "12:31"), (3, "09:00"))]
    left = timed(orders).key_by(lambda e: e.key)
    right = timed(shipped, 4 * HOUR).key_by(lambda e: e.key)
    found = await left.join(right, Interval(after=4 * HOUR)).collect()
    assert sorted(j.key for j in found) == [1, 3]


# Flink: Joins, Versioned Tables -----------------------------------------------------------------------------


async def test_flink_each_order_at_the_rate_of_its_own_time() -> None:
    """Flink, "Joins", "Event Time Temporal Join": orders at 12:00 and 12:06, the rate was 1.14 and then 1.10."""
    orders = [
        Event(clock("12:00"), "EUR", ("o_001", Decimal("11.11"))),
        Event(clock("12:06"), "EUR", ("o_002", Decimal("12.51"))),
    ]
    rates = [Event(clock("11:50"), "EUR", Decimal("1.14")), Event(clock("12:03"), "EUR", Decimal("1.10"))]
    left, right = (timed(side).key_by(lambda e: e.key) for side in (orders, rates))
    found = await left.join_table(right, how="left").collect()
    assert [(j.left.value[0], j.right and j.right.value) for j in found] == [
        ("o_001", Decimal("1.14")),
        ("o_002", Decimal("1.10")),
    ]


CHANGES = [
    Event(clock(at), product, price)
    for at, product, price in (
        ("00:01", "p_001", "11.11"),
        ("00:02", "p_002", "23.11"),
        ("12:00", "p_001", "12.99"),
        ("12:00", "p_002", "19.99"),
        ("18:00", "p_001", None),
    )
]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("00:00", {"p_001": None, "p_002": None}),
        ("00:01", {"p_001": "11.11", "p_002": None}),
        ("10:00", {"p_001": "11.11", "p_002": "23.11"}),
        ("12:00", {"p_001": "12.99", "p_002": "19.99"}),
        ("13:00", {"p_001": "12.99", "p_002": "19.99"}),
        ("18:00", {"p_001": None, "p_002": "19.99"}),
    ],
)
async def test_flink_a_versioned_table_asked_at_a_time(at: str, expected: dict[str, str | None]) -> None:
    """Flink, "Versioned Tables": what the prices were at 10:00 and 13:00.

    A deletion is an event like others to reactor: here one whose price is None.
    """
    asked = [Event(clock(at), product) for product in ("p_001", "p_002")]
    left, right = (timed(side).key_by(lambda e: e.key) for side in (asked, CHANGES))
    found = await left.join_table(right, how="left").collect()
    assert {j.key: j.right and j.right.value for j in found} == expected


@both
def test_flink_by_the_clock_an_order_finds_the_latest_rate(loop: Any) -> None:
    """Flink, "Joins", "Processing Time Temporal Join": the Euro goes from 114 to 116 before the order of 10:52.

    Without event times the newest rate that has come counts.
    """
    first = (Event(0, "US Dollar", 102), Event(0, "Euro", 114), Event(0, "Yen", 1))
    rates = played(*first, At(51.5 * MINUTE), Event(0, "Euro", 116), At(60 * MINUTE))
    early = (At(15 * MINUTE), Event(0, "Euro", 2), At(30 * MINUTE), Event(0, "US Dollar", 1))
    orders = played(*early, At(52 * MINUTE), Event(0, "Euro", 2))

    async def main() -> list[tuple[int, str, int, int]]:
        left, right = (side.key_by(lambda e: e.key) for side in (orders, rates))
        return [
            (j.left.value, j.key, j.right.value, j.left.value * j.right.value)
            for j in await left.join_table(right).collect()
        ]

    found = run_virtual(main, loop=loop).result
    assert found == [(2, "Euro", 114, 228), (1, "US Dollar", 102, 102), (2, "Euro", 116, 232)]
