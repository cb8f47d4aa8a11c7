"""The figures of a HOME, read from its topics, tables and files: the same after any number of crashes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
from anyio import to_thread
from msgspec import Struct, to_builtins

from pipelines.orders.audit import AuditFault, verify
from pipelines.orders.events import OrderCancelled, OrderCompleted, StockAdjusted, money, total
from pipelines.orders.findings import Findings, load
from pipelines.orders.home import Home
from pipelines.orders.order import ORDER, SETTLED, Order, by_status, folded
from reactor.eventstore import Category


class Handled(Struct, frozen=True):
    """What became of the events that are a consumer's: all, orders, or (email) orders of customers."""

    handled: int
    """Done: mailed, moved, charged, recorded."""
    failed: int
    """Neither handled nor in the dead letters: 0 once the consumer has caught up."""
    dead_letters: int


class Report(Struct, frozen=True):
    """The figures, as they are written to ``--report``."""

    invoices: int
    """Orders, cancellations, stock adjustments and the invoices that are none of these."""
    orders: int
    cancellations: int
    stock_adjustments: int
    dead_letters: int
    """Of the producer: invoices that are none of the three, and rows that can't be read."""
    guest_orders: int
    order_total: str
    cancellation_total: str
    net_total: str
    """Of all invoices: what the rows of the file sum up to."""
    orders_by_status: dict[str, int]
    """Of the orders that have a stream of their own: all, once fulfilment has caught up."""
    consumers: dict[str, Handled]
    analytics: dict[str, object]
    """See Findings.summary(): of ``revenue_by_day``, and what came late, the sum is ``order_total``."""

    def json(self) -> dict[str, object]:
        built: dict[str, object] = to_builtins(self)
        return built


async def report(home: Home) -> Report:
    """Return the figures as of now."""
    orders = cancellations = adjustments = guests = rejected_invoices = rejected = 0
    order_total = cancellation_total = adjustment_total = rejected_total = Decimal(0)
    async for record in home.orders().records():
        match record.value:
            case OrderCompleted() as event:
                orders += 1
                guests += event.customer_id is None
                order_total += total(event.lines)
            case OrderCancelled() as event:
                cancellations += 1
                cancellation_total += total(event.lines)
            case StockAdjusted() as event:
                adjustments += 1
                adjustment_total += total(event.lines)
    async for letter in home.rejected().records():
        rejected += 1
        if letter.value.amount is not None:
            rejected_invoices += 1
            rejected_total += letter.value.amount
    events = orders + cancellations + adjustments
    emails_dead = await home.dead_letters("emails.dead").length()
    payments_dead = await home.dead_letters("payments.dead").length()
    found = await to_thread.run_sync(findings, home.analytics)
    statuses = by_status((await every_order(home)).values())
    return Report(
        invoices=events + rejected_invoices,
        orders=orders,
        cancellations=cancellations,
        stock_adjustments=adjustments,
        dead_letters=rejected,
        guest_orders=guests,
        order_total=money(order_total),
        cancellation_total=money(cancellation_total),
        net_total=money(order_total + cancellation_total + adjustment_total + rejected_total),
        orders_by_status={status.value: count for status, count in statuses.items()},
        consumers={
            "email": _handled(orders - guests, await home.emails().length(), emails_dead),
            "inventory": _handled(events, await to_thread.run_sync(applied, home.stock), 0),
            "payment": _handled(orders, await home.payments().length(), payments_dead),
            "fulfilment": _handled(orders, sum(statuses[status] for status in SETTLED), 0),
            "audit": _handled(events, await to_thread.run_sync(audited, home.audit), 0),
            "analytics": _handled(orders + cancellations, found.orders + found.cancellations, 0),
        },
        analytics=found.summary(),
    )


async def every_order(home: Home) -> dict[str, Order]:
    """Return the orders as their steps say, by stream."""
    return await home.steps().fold(Category(ORDER), dict, folded)


def _handled(events: int, handled: int, dead_letters: int) -> Handled:
    return Handled(handled, max(0, events - handled - dead_letters), dead_letters)


def findings(analytics: Path) -> Findings:
    """Return what analytics has found; this blocks. Nothing for a file that can't be read."""
    try:
        return load(analytics)
    except msgspec.MsgspecError:
        return Findings()


def applied(stock: Path) -> int:
    """Return how many events were applied to the stock; this blocks. 0 for a file that can't be read."""
    if not stock.exists():
        return 0
    with closing(sqlite3.connect(stock, timeout=30)) as db:
        try:
            (count,) = db.execute("SELECT count(*) FROM applied").fetchone()
        except sqlite3.DatabaseError:  # damaged, or made a moment ago and still without tables
            return 0
    return int(count)


def audited(audit: Path) -> int:
    """Return how many records of the audit file hold; this blocks. 0 for a file that was tampered with."""
    if not audit.exists():
        return 0
    try:
        return verify(audit)
    except AuditFault:
        return 0
