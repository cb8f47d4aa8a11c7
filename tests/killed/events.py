"""What the pipelines read and what they make of it: made up from a seed, out of order."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from reactor import Topic, topic

SECOND = 1_000_000
OUT_OF_ORDER = 3 * SECOND
"""So far an event's time is at most behind the latest one before it."""
USERS = 150


class Order(msgspec.Struct, frozen=True):
    number: int
    user: int
    amount: int
    at: int
    """Microseconds since the epoch."""


class Paid(msgspec.Struct, frozen=True):
    number: int
    user: int
    at: int


class Row(msgspec.Struct, frozen=True):
    """A result of any branch."""

    k: int
    t: int
    v: int
    x: int


def orders(count: int, seed: int) -> list[Order]:
    """One each tenth of a second, on average; now and then nobody buys for a while."""
    dice = random.Random(seed)
    found: list[Order] = []
    now = latest = 1_000 * SECOND
    for number in range(count):
        now += dice.randrange(SECOND // 5) + (40 * SECOND if dice.random() < 0.002 else 0)
        at = max(now - dice.randrange(4 * SECOND), latest - OUT_OF_ORDER)
        latest = max(latest, at)
        found.append(Order(number, dice.randrange(USERS), dice.randrange(1, 100), at))
    return found


def payments(of: list[Order], seed: int) -> list[Paid]:
    """Of each fifth order, some seconds later or earlier; in the order of their times."""
    dice = random.Random(seed)
    made = [(order.at + dice.randrange(-5, 20) * SECOND, order.user) for order in of[::5]]
    return [Paid(number, user, at) for number, (at, user) in enumerate(sorted(made))]


def order_topic(folder: Path) -> Topic[Order]:
    return topic(f"sqlite:{folder}/shop.db/orders", Order)


def payment_topic(folder: Path) -> Topic[Paid]:
    return topic(f"sqlite:{folder}/shop.db/payments", Paid)


def result_topic(folder: Path) -> Topic[Row]:
    """Not in the file of the others: it has a log of its own."""
    return topic(f"sqlite:{folder}/results.db/checked", Row)
