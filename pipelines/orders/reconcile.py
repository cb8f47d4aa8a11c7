"""Does it all add up? Every order's mail, stock movement, payment and audit record, each against the other.

The figures on the left come from the events in the topic ``orders``; those on the right from what the
consumers left behind, and from the books of the servers outside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread

from pipelines.orders.audit import AuditFault, Chain
from pipelines.orders.check import Check, amounts_of, counts, differing_of
from pipelines.orders.events import (
    WEB,
    OrderCompleted,
    OrderEvent,
    Refusal,
    StockAdjusted,
    grouped,
    total,
    units,
)
from pipelines.orders.expected import expected
from pipelines.orders.findings import Findings, add, load
from pipelines.orders.home import Home
from pipelines.orders.streams import Streams, check_streams, read_streams
from pipelines.orders.survey import Survey


@dataclass
class _Order:
    kind: str
    position: int
    total: Decimal
    units: int
    customer: bool
    event: OrderEvent


@dataclass
class _Left:
    """What the consumers left behind, by invoice."""

    emails: set[str] = field(default_factory=set)
    emails_dead: set[str] = field(default_factory=set)
    payments: dict[str, Decimal | None] = field(default_factory=dict)
    payments_dead: dict[str, Decimal | None] = field(default_factory=dict)


async def reconcile(home: Home) -> list[Check]:
    """Return all checks; each invoice is looked at in each of them."""
    events: dict[str, _Order] = {}
    amount = Decimal(0)
    async for record in home.orders().records():
        event = record.value
        position = record.position
        assert position is not None
        sum = total(event.lines)
        customer = not isinstance(event, StockAdjusted) and event.customer_id is not None
        moved = _sum(units(event))
        events[event.invoice] = _Order(type(event).__name__, position, sum, moved, customer, event)
        if not event.invoice.startswith(WEB):
            amount += sum
    left = _Left()
    async for sent in home.emails().records():
        left.emails.add(sent.value.invoice)
    async for paid in home.payments().records():
        left.payments[paid.value.invoice] = paid.value.amount
    async for letter in home.dead_letters("emails.dead").records():
        left.emails_dead.add(msgspec.convert(letter.value.event, Refusal).invoice)
    async for letter in home.dead_letters("payments.dead").records():
        refusal = msgspec.convert(letter.value.event, Refusal)
        left.payments_dead[refusal.invoice] = refusal.amount
    streams = await read_streams(home)
    rejected_invoices = broken = 0
    async for rejected in home.rejected().records():
        if rejected.value.amount is None:
            broken += 1
        else:
            rejected_invoices += 1
            amount += rejected.value.amount
    checks = []
    survey = await to_thread.run_sync(home.survey)
    if survey is not None:
        checks = _file(survey, events, rejected_invoices, broken, amount)
    return checks + await to_thread.run_sync(_consumers, home, events, left, streams)


def _sum(moved: dict[str, int]) -> int:
    return sum(moved.values())


def _file(
    survey: Survey, events: dict[str, _Order], rejected: int, broken: int, amount: Decimal
) -> list[Check]:
    published = sum(not invoice.startswith(WEB) for invoice in events)
    invoices = counts(survey.invoices, published + rejected)
    return [
        Check("file", "invoices: events or dead letters", *invoices),
        Check("file", "broken rows in the dead letters", *counts(survey.broken, broken)),
        Check("file", "amount of all rows, GBP", grouped(survey.amount), grouped(amount)),
    ]


def _consumers(home: Home, events: dict[str, _Order], left: _Left, streams: Streams) -> list[Check]:
    orders = {invoice: order for invoice, order in events.items() if order.kind == OrderCompleted.__name__}
    parts: dict[str, Callable[[], list[Check]]] = {
        "email": lambda: _emails(home, orders, left),
        "inventory": lambda: _stock(home, events),
        "payment": lambda: _payments(home, orders, left),
        "fulfilment": lambda: check_streams(
            [order.event for order in events.values()], left.payments, streams
        ),
        "audit": lambda: [_audit(home.audit, events)],
        "analytics": lambda: _analytics(home.analytics, events),
    }
    checks: list[Check] = []
    for part, check in parts.items():
        try:
            checks += check()
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            checks.append(Check(part, "its file can be read", "yes", "no", (str(error),)))
    return checks


def _emails(home: Home, orders: dict[str, _Order], left: _Left) -> list[Check]:
    customers = {invoice for invoice, order in orders.items() if order.customer}
    mailed = left.emails | left.emails_dead
    both = counts(len(customers), len(mailed))
    checks = [Check("email", "a mail for each customer's order", *both, differing_of(customers ^ mailed))]
    if home.mail.exists():
        mailbox = {str(message_id) for (message_id,) in _query(home.mail, _MAILS)}
        awaited = {f"<order-{invoice}@shop.example>" for invoice in left.emails}
        both = counts(len(awaited), len(mailbox))
        differing = differing_of(awaited ^ mailbox)
        checks.append(Check("email", "the same mails in the mailbox", *both, differing))
    return checks


def _stock(home: Home, events: dict[str, _Order]) -> list[Check]:
    expected = {invoice: (order.kind, order.units) for invoice, order in events.items()}
    applied: dict[str, tuple[str, int]] = {}
    stock = 0
    if home.stock.exists():
        applied = {event: (kind, moved) for event, kind, moved in _query(home.stock, _APPLIED)}
        ((stock,),) = _query(home.stock, _STOCK)
    differing = differing_of({invoice for invoice, _ in expected.items() ^ applied.items()})
    units = counts(sum(order.units for order in events.values()), stock)
    return [
        Check("inventory", "a movement for each event", *counts(len(expected), len(applied)), differing),
        Check("inventory", "units in stock", *units),
    ]


def _payments(home: Home, orders: dict[str, _Order], left: _Left) -> list[Check]:
    decided = {**left.payments, **left.payments_dead}
    twice = left.payments.keys() & left.payments_dead.keys()
    wrong = {invoice for invoice in orders if decided.get(invoice) != orders[invoice].total}
    both = counts(len(orders), len(left.payments) + len(left.payments_dead))
    differing = differing_of(twice | wrong | (decided.keys() - orders.keys()))
    checks = [Check("payment", "orders paid or declined, not both", *both, differing)]
    for what, amounts in (("paid, GBP", left.payments), ("declined, GBP", left.payments_dead)):
        due = sum((order.total for invoice, order in orders.items() if invoice in amounts), Decimal(0))
        found = sum((amount or Decimal(0) for amount in amounts.values()), Decimal(0))
        checks.append(Check("payment", what, grouped(due), grouped(found)))
    if home.gateway.exists():
        books = {
            key.removeprefix("order-"): (status, amount)
            for key, status, amount in _query(home.gateway, _CHARGES)
        }
        awaited = {
            i: ("approved", str(amount)) for i, amount in left.payments.items() if amount and amount > 0
        }
        awaited |= {i: ("declined", str(amount)) for i, amount in left.payments_dead.items()}
        both = counts(len(awaited), len(books))
        differing = differing_of({invoice for invoice, _ in awaited.items() ^ books.items()})
        checks.append(Check("payment", "the gateway's books say the same", *both, differing))
    return checks


def _audit(path: Path, events: dict[str, _Order]) -> Check:
    """Read the file against the events: the chain holds, and record n is the event at position n."""
    chain = Chain()
    differing: set[str] = set()
    fault: tuple[str, ...] = ()
    try:
        with path.open("rb") as file:
            for line in file:
                head = chain.check(line)
                invoice = msgspec.json.decode(head.data)["invoice"]
                if invoice not in events or events[invoice].position != head.n:
                    differing.add(invoice)
    except OSError:
        pass
    except AuditFault as error:
        fault = (str(error),)
    both = counts(len(events), chain.n)
    return Check("audit", "a record each, unbroken chain", *both, fault or differing_of(differing))


def _analytics(path: Path, events: dict[str, _Order]) -> list[Check]:
    """Compare with plain loops over all events; what came late has to be what those say is late."""
    found = load(path)
    due = expected((order.event for order in events.values()), found.waits)
    revenue, wanted = dict(found.revenue), dict(due.revenue)
    for amounts, late in ((revenue, found.late), (wanted, due.late)):
        for day, amount in late.revenue.items():
            add(amounts, day, amount)
    days = {str(day) for day, _ in revenue.items() ^ wanted.items()}
    in_sessions = sum(size * count for size, count in found.sessions_by_orders.items()) + found.late.visits
    customers = sum(order.customer for order in events.values() if order.kind == OrderCompleted.__name__)
    weeks = [
        str(day)
        for channel in due.best
        for day, top in due.best[channel].items()
        if found.best.get(channel, {}).get(day) != top
    ]
    returns = {invoice for invoice, _ in found.returns.items() ^ due.returns.items()}
    return [
        Check("analytics", "revenue of all days, GBP", *amounts_of(wanted, revenue), differing_of(days)),
        Check("analytics", "orders too late for their minute", *counts(due.late.orders, found.late.orders)),
        Check("analytics", "orders in the customers' sessions", *counts(customers, in_sessions)),
        Check(
            "analytics",
            "weeks with their best sellers",
            *counts(_weeks(due), _weeks(found)),
            differing_of(set(weeks)),
        ),
        Check(
            "analytics",
            "cancellations with their order",
            *counts(len(due.returns), len(found.returns)),
            differing_of(returns),
        ),
    ]


def _weeks(findings: Findings) -> int:
    return sum(map(len, findings.best.values()))


_MAILS = "SELECT message_id FROM mails"
_APPLIED = "SELECT event, kind, units FROM applied"
_STOCK = "SELECT coalesce(sum(quantity), 0) FROM stock"
_CHARGES = "SELECT key, status, amount FROM charges"


def _query(database: Path, query: str) -> Iterator[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, timeout=30)) as db:
        yield from db.execute(query)
