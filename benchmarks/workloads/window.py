"""Keyed tumbling windows in event time: the sum of each of 100 keys in every ten seconds.

The events are prepared before the clock starts and are out of order by up to a second. A window closes when
no event that belongs to it is expected any more; nothing is late, which each system has to find out.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from benchmarks.harness import Workload

KEYS = 100
SIZE = 10_000_000
BOUND = 1_000_000
APART = 1_000
"""A window's size, the bound and what lies between two events on average: microseconds of event time."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = 1_750_000_000_000_000
NEVER = 1 << 62

Sums = dict[tuple[str, int], int]
"""By key and start of the window."""


class Sale(msgspec.Struct, gc=False):
    """``when`` is ``at`` again, for the system that takes only datetimes: it isn't to pay for the conversion."""

    at: int
    shop: str
    amount: int
    when: datetime


def time_of(sale: Sale) -> int:
    return sale.at


def key_of(sale: Sale) -> str:
    return sale.shop


def value_of(sale: Sale) -> int:
    return sale.amount


@lru_cache(maxsize=4)
def sales(events: int) -> list[Sale]:
    """The same events each time: time goes on by ``APART``, each event is late by up to ``BOUND``."""
    dice = random.Random(events)
    shops = [f"shop-{number}" for number in range(KEYS)]
    found = []
    for number in range(events):
        at = FIRST + number * APART - int(dice.random() * BOUND)
        shop = shops[int(dice.random() * KEYS)]
        found.append(Sale(at, shop, 1 + number % 500, EPOCH + timedelta(microseconds=at)))
    return found


WORK = Workload(
    "window",
    "tumbling windows of event time, 100 keys, out of order, sums",
    events=300_000,
    prepare=sales,
)


@WORK.system("reactor")
async def on_reactor(events: int) -> Sums:
    from reactor import Stream, Tumbling, Windowed

    def keep(sums: Sums, result: Windowed[str, int]) -> Sums:
        sums[result.key, result.window.start] = result.value
        return sums

    timed = Stream(sales(events)).event_time(time_of, out_of_order=BOUND / 1e6, unit="us")
    windows = timed.key_by(key_of).window(Tumbling(SIZE / 1e6))
    return await windows.sum(value_of).fold(keep, factory=dict)


def closing(open_: dict[int, dict[str, int]], sums: Sums) -> Callable[[int], int]:
    """Close the windows up to a watermark, in order; return when the next one is due."""

    def close(watermark: int) -> int:
        for start in sorted(open_):
            if start + SIZE > watermark:
                return start + SIZE
            for key, total in open_.pop(start).items():
                sums[key, start] = total
        return NEVER

    return close


@WORK.system("loop")
def by_hand(events: int) -> Sums:
    """The window of the event before is looked at first: events come nearly in order."""
    sums: Sums = {}
    open_: dict[int, dict[str, int]] = {}
    close = closing(open_, sums)
    highest, due, late = -NEVER, NEVER, 0
    start = end = 0
    window: dict[str, int] = {}
    for sale in sales(events):
        time = time_of(sale)
        if not start <= time < end:
            start = time - time % SIZE
            end = start + SIZE
            if start not in open_:
                if end <= highest - BOUND:
                    end = 0
                    late += 1
                    continue
                open_[start] = defaultdict(int)
                due = min(due, end)
            window = open_[start]
        window[key_of(sale)] += value_of(sale)
        if time > highest:
            highest = time
            if time - BOUND >= due:
                due = close(time - BOUND)
                end = 0
    close(NEVER)
    assert not late
    return sums


@WORK.system("loop-inlined")
def by_hand_inlined(events: int) -> Sums:
    """The same without a function per event."""
    sums: Sums = {}
    open_: dict[int, dict[str, int]] = {}
    close = closing(open_, sums)
    highest, due, late = -NEVER, NEVER, 0
    start = end = 0
    window: dict[str, int] = {}
    for sale in sales(events):
        time = sale.at
        if not start <= time < end:
            start = time - time % SIZE
            end = start + SIZE
            if start not in open_:
                if end <= highest - BOUND:
                    end = 0
                    late += 1
                    continue
                open_[start] = defaultdict(int)
                due = min(due, end)
            window = open_[start]
        window[sale.shop] += sale.amount
        if time > highest:
            highest = time
            if time - BOUND >= due:
                due = close(time - BOUND)
                end = 0
    close(NEVER)
    assert not late
    return sums


@WORK.system("bytewax", share=0.2)
def on_bytewax(events: int) -> Sums:
    """Its watermark goes on with the system's clock; here the clock stands, so that nothing ever is late.

    That, larger batches, and not sorting by time make it up to twice as fast as it is out of the box.
    It closes a key's window when the key's own events have passed it: per key, not for all keys at once.
    """
    from bytewax import operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window

    from .on_bytewax import Batches, Folded, run

    def keep(sums: Sums, result: tuple[str, tuple[int, int]]) -> Sums:
        key, (number, total) = result
        sums[key, number * SIZE] = total
        return sums

    def fold(total: int, sale: Sale) -> int:
        return total + sale.amount

    flow = Dataflow("window")
    sums = Folded(keep, {})
    clock: Any = EventClock(
        lambda sale: sale.when,
        timedelta(microseconds=BOUND),
        now_getter=lambda: EPOCH,
        to_system_utc=lambda time: None,
    )
    windower = TumblingWindower(timedelta(microseconds=SIZE), EPOCH)
    keyed = op.key_on("key", op.input("in", flow, Batches(sales(events), 4096)), key_of)
    # In the order of arrival: sorting by time would cost it more, and a sum doesn't ask for it.
    windows = fold_window("sum", keyed, clock, windower, int, fold, fold, ordered=False)
    op.output("out", windows.down, sums)
    run(flow)
    return sums.result
