"""What the topics carry. Amounts are exact decimals, times aware and in UTC.

Quantities stand as they do in the orders file: positive in an order, negative in a cancellation, not
positive in a stock adjustment. ``units`` turns them into what the stock gains or loses.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from msgspec import Struct

WEB = "W"
"""The first letter of the invoice numbers of orders that came over HTTP."""


class Line(Struct, frozen=True):
    """One product of an invoice."""

    stock_code: str
    description: str | None
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price


class OrderCompleted(Struct, frozen=True, kw_only=True):
    """A customer, or a guest (``customer_id`` is None), has bought the lines."""

    invoice: str
    customer_id: str | None
    country: str
    placed_at: datetime
    lines: tuple[Line, ...]


class OrderCancelled(Struct, frozen=True, kw_only=True):
    """Goods come back."""

    invoice: str
    customer_id: str | None
    country: str
    cancelled_at: datetime
    lines: tuple[Line, ...]


class StockAdjusted(Struct, frozen=True, kw_only=True):
    """Nobody bought anything: damaged, lost, found."""

    invoice: str
    country: str
    adjusted_at: datetime
    lines: tuple[Line, ...]


OrderEvent = OrderCompleted | OrderCancelled | StockAdjusted


class Rejected(Struct, frozen=True, kw_only=True):
    """A row that can't be read, or an invoice that is no order: the dead letter of the producer."""

    line: int
    """The line of the orders file (the header is line 1); of an invoice, its first."""
    reason: str
    invoice: str | None = None
    amount: Decimal | None = None
    """What the invoice sums up to; None for a row that can't be read."""
    content: str = ""

    @property
    def id(self) -> str:
        return f"line {self.line}"


class EmailSent(Struct, frozen=True, kw_only=True):
    """The mail server has taken the mail."""

    invoice: str
    recipient: str
    message_id: str


class Refusal(Struct, frozen=True, kw_only=True):
    """A server outside has decided against an order, for good: what stands in a dead letter."""

    invoice: str
    reason: str
    amount: Decimal | None = None


class Payment(Struct, frozen=True, kw_only=True):
    """The order is paid. ``reference`` is the gateway's, None where there was nothing to pay."""

    invoice: str
    amount: Decimal
    reference: str | None


def total(lines: Iterable[Line]) -> Decimal:
    """Return the exact sum of quantity times price."""
    return sum((line.amount for line in lines), Decimal(0))


def units(event: OrderEvent) -> dict[str, int]:
    """Return what each product's stock gains (or loses, below zero) by the event."""
    sign = 1 if isinstance(event, StockAdjusted) else -1
    moved: dict[str, int] = {}
    for line in event.lines:
        moved[line.stock_code] = moved.get(line.stock_code, 0) + sign * line.quantity
    return moved


def happened_at(event: OrderEvent) -> datetime:
    """Return the event's own time."""
    match event:
        case OrderCompleted():
            return event.placed_at
        case OrderCancelled():
            return event.cancelled_at
        case StockAdjusted():
            return event.adjusted_at


def invoice_of(event: OrderEvent | EmailSent | Payment) -> str:
    return event.invoice


def customer_or_invoice(event: OrderEvent) -> str:
    """Return the key of the event: events of one customer stay in order."""
    return getattr(event, "customer_id", None) or event.invoice


def grouped(amount: Decimal) -> str:
    """Write an amount for people: ``823,746.14``."""
    return money(amount, ",")


def money(amount: Decimal, grouping: str = "") -> str:
    """Write an amount with all of its decimals, two at least: ``823746.14``, ``10655622.484``."""
    whole, _, decimals = f"{amount:{grouping}f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
