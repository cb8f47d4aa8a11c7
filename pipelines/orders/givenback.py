"""Which cancellations cancel an order: those that give back all of what it had.

A cancellation of the orders file doesn't name its order, and most give back a part of one, or goods of several.
But one that gives back the same quantities of the same products to the same customer's newest such order, not
older than thirty days, leaves nothing of it: that order is cancelled.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import datetime
from typing import NamedTuple

from pipelines.orders.events import OrderCancelled, OrderCompleted, OrderEvent
from pipelines.orders.findings import RETURNS


class GivenBack(NamedTuple):
    """An order, and the cancellation that gave all of it back."""

    order: str
    cancellation: OrderCancelled


class _Of(NamedTuple):
    """The orders and the cancellations of one customer with the same contents that have found no match yet."""

    orders: dict[str, datetime]
    cancellations: dict[str, OrderCancelled]


_Contents = tuple[str, bytes]


class GivingBack:
    """Matches cancellations with orders, as the events come: what it finds depends on nothing else.

    In a file whose rows are mixed, a cancellation may come before its order: so both wait for each other.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[_Contents, _Of] = defaultdict(lambda: _Of({}, {}))

    def add(self, event: OrderEvent) -> GivenBack | None:
        """Take the next event; return the match that it makes."""
        if isinstance(event, OrderCompleted) and event.customer_id is not None:
            waiting = self._waiting[event.customer_id, _contents(event, 1)]
            fitting = [
                (cancellation.cancelled_at, invoice)
                for invoice, cancellation in waiting.cancellations.items()
                if _fits(event.placed_at, cancellation.cancelled_at)
            ]
            if fitting:
                return GivenBack(event.invoice, waiting.cancellations.pop(min(fitting)[1]))
            waiting.orders[event.invoice] = event.placed_at
        elif isinstance(event, OrderCancelled) and event.customer_id is not None:
            waiting = self._waiting[event.customer_id, _contents(event, -1)]
            before = [
                (placed_at, invoice)
                for invoice, placed_at in waiting.orders.items()
                if _fits(placed_at, event.cancelled_at)
            ]
            if before:
                invoice = max(before)[1]
                del waiting.orders[invoice]
                return GivenBack(invoice, event)
            waiting.cancellations[event.invoice] = event
        return None


def _fits(placed_at: datetime, cancelled_at: datetime) -> bool:
    return cancelled_at - RETURNS <= placed_at <= cancelled_at


def _contents(event: OrderCompleted | OrderCancelled, sign: int) -> bytes:
    """Return a digest of the quantities of the products: the same for the same ones, in any order."""
    units: Counter[str] = Counter()
    for line in event.lines:
        units[line.stock_code] += sign * line.quantity
    return hashlib.sha256(repr(sorted(units.items())).encode()).digest()
