"""A pipeline as they are in life, and a world of sales that tells itself what has to come out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec

from reactor import Checkpoints, DeadLetters, Pipeline, Topic, Tumbling, Windowed, table, topic

SPAN = 10
"""Seconds of a window."""
PER_SECOND = 2_000
"""Sales in a second of the world, which is no second of ours."""
PIECE = 2_000
"""Sales in one publish."""
POISON = 1_000
"""One sale of these many can't be taken."""
FILLING = 200_000
"""Of the first sales one in ten can't be taken. SQLite keeps up to 16 MiB of the pages of a log that it writes:
with 20 letters a second it would take more than ten minutes until no more are added, and look like a leak."""


class Sale(msgspec.Struct, frozen=True):
    id: int
    customer: int
    amount: int
    at: float


class Total(msgspec.Struct, frozen=True):
    """Of a customer's last window."""

    customer: int
    start: int
    amount: int


class Minute(msgspec.Struct, frozen=True):
    """Of all customers."""

    start: int
    amount: int


class Unfit(Exception):
    """What a sale fails with that can't be taken."""


class World:
    """Sales by their number, over so many customers; all that is known of them can be computed."""

    def __init__(self, folder: Path, keys: int, filling: int = FILLING) -> None:
        self.folder = folder
        self.keys = keys
        self.filling = filling
        self.sales: Topic[Sale] = topic(f"sqlite:{folder}/in.db/sales", Sale)
        self.dead: Topic[object] = topic(f"sqlite:{folder}/dead.db/dead")

    def sale(self, n: int) -> Sale:
        amount = n % 97 if self.fit(n) else -1
        return Sale(n, n * 7919 % self.keys, amount, n / PER_SECOND)

    def piece(self, first: int) -> Iterator[Sale]:
        return map(self.sale, range(first, first + PIECE))

    def pipeline(self, interval: float = 1.0) -> Pipeline:
        good = (
            self.sales.subscribe("load")
            .map(taken, on_error=DeadLetters())
            .map(looked_up, concurrency=32)
            .event_time(lambda sale: sale.at, unit="s")
        )
        totals = good.key_by(lambda sale: sale.customer).window(Tumbling(SPAN), name="totals")
        minutes = good.window(Tumbling(SPAN), name="minutes")
        return Pipeline(
            "load",
            totals.sum(lambda sale: sale.amount)
            .map(total)
            .to(table(f"sqlite:{self.folder}/out.db/totals", Total, key="customer", create=True)),
            minutes.sum(lambda sale: sale.amount)
            .map(minute)
            .to(table(f"sqlite:{self.folder}/minutes.db/minutes", Minute, create=True)),
            dead_letters=self.dead,
            checkpoint=Checkpoints(f"sqlite:{self.folder}/state.db", interval=interval),
            guarantee="exactly-once",
        )

    def expected(self, count: int) -> tuple[dict[int, tuple[int, int]], list[tuple[int, int]], int]:
        """The totals, the minutes and the number of dead letters after ``count`` sales, none of them the last."""
        totals: dict[int, tuple[int, int]] = {}
        minutes: list[tuple[int, int]] = []
        each = SPAN * PER_SECOND
        last = count - 1
        while not self.fit(last):
            last -= 1
        for window in range(last // each):
            start = window * SPAN * 1_000_000
            minutes.append(
                (start, sum(n % 97 for n in range(window * each, (window + 1) * each) if self.fit(n)))
            )
        for window in range(max(0, last // each - self.keys // each - 2), last // each):
            start = window * SPAN * 1_000_000
            fresh: dict[int, int] = {}
            for n in range(window * each, (window + 1) * each):
                if self.fit(n):
                    customer = n * 7919 % self.keys
                    fresh[customer] = fresh.get(customer, 0) + n % 97
            totals.update((customer, (start, amount)) for customer, amount in fresh.items())
        early = min(count, self.filling)
        return totals, minutes, early // 10 + count // POISON - early // POISON

    def fit(self, n: int) -> bool:
        poison = 10 if n < self.filling else POISON
        return n % poison != poison - 1


def taken(sale: Sale) -> Sale:
    if sale.amount < 0:
        raise Unfit(f"sale {sale.id}: no amount")
    return sale


async def looked_up(sale: Sale) -> Sale:
    if sale.id < 100:  # so that all workers are there from the beginning
        await anyio.sleep(0.05)
    await anyio.lowlevel.checkpoint()
    return sale


def total(found: Windowed[int, int]) -> Total:
    return Total(found.key, found.window.start, found.value)


def minute(found: Windowed[None, int]) -> Minute:
    return Minute(found.window.start, found.value)
