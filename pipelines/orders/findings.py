"""What ``analytics`` has found: its windows' results, added up as they fire."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, field

from pipelines.orders.events import (
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    happened_at,
    money,
    total,
)
from reactor import Joined, Windowed

K = TypeVar("K")
Channel = Literal["file", "web"]
"""Where orders come from: two clocks."""

WEEK = timedelta(days=7)
EVERY = timedelta(days=1)
"""Best sellers are those of a week, and each day there is a new one."""
TOP = 10
GAP = timedelta(minutes=30)
"""A session ends with so much silence. In the data, a third of the customers' orders follow their last one
within a quarter of an hour, and next to none half an hour to half a day later."""
_GAP = GAP // timedelta(microseconds=1)
RETURNS = timedelta(days=30)
"""How long before a cancellation its order may be."""

# What flows -------------------------------------------------------------------------------------------------


class Sales(Struct, frozen=True):
    """What one product sold in a window."""

    code: str
    units: int
    description: str


# What it adds up to -----------------------------------------------------------------------------------------


class Late(Struct):
    """What came when its windows were gone: counted here, and in no other figure."""

    orders: int = 0
    """For the revenue."""
    revenue: dict[date, Decimal] = field(default_factory=dict)
    """Of these, by day."""
    lines: int = 0
    """For all windows of the best sellers."""
    visits: int = 0
    """For the sessions."""

    @property
    def amount(self) -> Decimal:
        return sum(self.revenue.values(), Decimal(0))

    @property
    def events(self) -> int:
        return self.orders + self.lines + self.visits


class Return(Struct, frozen=True):
    """A cancellation, and the newest order of the customer in ``RETURNS`` that had one of its products."""

    order: str
    placed_at: datetime
    cancelled_at: datetime
    amount: Decimal
    """Of the cancelled lines whose products that order had: not positive."""

    @property
    def days(self) -> float:
        return (self.cancelled_at - self.placed_at) / timedelta(days=1)


class Findings(Struct):
    """The figures, as they stand in ``analytics.json``; amounts are of orders, cancellations apart."""

    waits: dict[Channel, timedelta] = field(default_factory=dict)
    """How far the watermark was behind the latest event: ``out_of_order``."""
    orders: int = 0
    """Of completed orders, those that were read."""
    cancellations: int = 0
    windows: int = 0
    """How many minutes had an order from a country, of all countries together."""
    revenue: dict[date, Decimal] = field(default_factory=dict)
    revenue_by_country: dict[str, Decimal] = field(default_factory=dict)
    revenue_by_hour: dict[str, Decimal] = field(default_factory=dict)
    """By weekday (1 is Monday) and hour, in UTC: ``"1 09"``."""
    orders_by_day: dict[date, int] = field(default_factory=dict)
    best: dict[Channel, dict[date, list[Sales]]] = field(default_factory=dict)
    """By the last day of the week."""
    sessions: int = 0
    session_seconds: int = 0
    sessions_by_orders: dict[int, int] = field(default_factory=dict)
    returns: dict[str, Return] = field(default_factory=dict)
    """By the invoice of the cancellation."""
    late: Late = field(default_factory=Late)

    # Each of these takes the results of one branch ----------------------------------------------------------

    def read(self, event: OrderEvent) -> None:
        if isinstance(event, OrderCompleted):
            self.orders += 1
        else:
            self.cancellations += 1

    def minute(self, result: Windowed[str, tuple[int, Decimal]]) -> None:
        orders, amount = result.value
        start = result.window.starts_at
        day, hour = start.date(), f"{start:%u %H}"
        self.windows += 1
        self.orders_by_day[day] = self.orders_by_day.get(day, 0) + orders
        add(self.revenue, day, amount)
        add(self.revenue_by_country, result.key, amount)
        add(self.revenue_by_hour, hour, amount)

    def week(self, result: Windowed[None, list[Sales]], channel: Channel) -> None:
        day = datetime.fromtimestamp(result.time // 1_000_000, UTC).date()
        self.best.setdefault(channel, {})[day] = result.value

    def session(self, result: Windowed[str | None, int]) -> None:
        orders = result.value
        self.sessions += 1
        # A session's window ends a gap after its last order.
        self.session_seconds += (result.window.end - result.window.start - _GAP) // 1_000_000
        self.sessions_by_orders[orders] = self.sessions_by_orders.get(orders, 0) + 1

    def returned(self, pair: Joined[str | None, OrderCancelled, OrderCompleted]) -> None:
        """Keep the newest order; others that fit have been or will be here too."""
        cancellation, order = pair.left, pair.right
        amount = total(shared(cancellation, order))
        found = Return(order.invoice, order.placed_at, cancellation.cancelled_at, amount)
        known = self.returns.get(cancellation.invoice)
        if known is None or (known.placed_at, known.order) < (found.placed_at, found.order):
            self.returns[cancellation.invoice] = found

    def late_order(self, order: OrderCompleted) -> None:
        self.late.orders += 1
        add(self.late.revenue, happened_at(order).date(), total(order.lines))

    def late_visit(self, order: OrderCompleted) -> None:
        self.late.visits += 1

    def late_line(self, line: object) -> None:
        self.late.lines += 1

    # As a whole ---------------------------------------------------------------------------------------------

    @property
    def amount(self) -> Decimal:
        return sum(self.revenue.values(), Decimal(0))

    @property
    def last_week(self) -> tuple[date, list[Sales]] | None:
        """The best sellers of the week up to the last day with an order, and that day."""
        day = max(self.revenue, default=None)
        found = [weeks[day] for weeks in self.best.values() if day in weeks]
        return None if day is None or not found else (day, found[0])

    @property
    def mean_session(self) -> float:
        """Seconds from a session's first order to its last."""
        return self.session_seconds / self.sessions if self.sessions else 0.0

    def summary(self) -> dict[str, object]:
        """Return the compact form that stands in the report."""
        week = self.last_week
        top = [] if week is None else week[1]
        ends = None if week is None else week[0].isoformat()
        return {
            "revenue_by_day": {
                day.isoformat(): money(amount) for day, amount in sorted(self.revenue.items())
            },
            "country_minutes": self.windows,
            "revenue_by_country": {
                country: money(amount) for country, amount in _largest_first(self.revenue_by_country)
            },
            "best_sellers": {
                "days": WEEK.days,
                "until": ends,
                "top": [
                    {"stock_code": sold.code, "description": sold.description, "units": sold.units}
                    for sold in top
                ],
            },
            "sessions": {
                "count": self.sessions,
                "mean_seconds": round(self.mean_session, 1),
                "gap_seconds": round(GAP.total_seconds()),
            },
            "cancellations": {
                "joined": len(self.returns),
                "not_joined": self.cancellations - len(self.returns),
                "within_days": RETURNS.days,
            },
            "late": {
                "orders": self.late.orders,
                "revenue": money(self.late.amount),
                "in_best_sellers": self.late.lines,
                "in_sessions": self.late.visits,
            },
        }


def add(amounts: dict[K, Decimal], key: K, amount: Decimal) -> None:
    amounts[key] = amounts.get(key, Decimal(0)) + amount


def shared(cancellation: OrderCancelled, order: OrderCompleted) -> list[Line]:
    """Return the cancelled lines whose products the order had."""
    codes = {line.stock_code for line in order.lines}
    return [line for line in cancellation.lines if line.stock_code in codes]


def _largest_first(amounts: dict[str, Decimal]) -> Iterable[tuple[str, Decimal]]:
    return sorted(amounts.items(), key=lambda pair: (-pair[1], pair[0]))


# The file ---------------------------------------------------------------------------------------------------


def encoded(findings: Findings) -> bytes:
    return msgspec.json.encode(findings)


def save(content: bytes, path: Path, *, durably: bool = False) -> None:
    """Write the file whole, or not at all; this blocks. ``durably``: also where the machine fails."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        if durably:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path) -> Findings:
    """Return what stands in the file, nothing where there is none; this blocks. Raises msgspec.MsgspecError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Findings)
    except FileNotFoundError:
        return Findings()
