"""Does it all add up? Every order's mail, stock movement, payment and audit record, each against the other.

The figures on the left come from the events in the topic ``orders``; those on the right from what the
consumers left behind, and from the books of the servers outside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread

from pipelines.orders.audit import AuditFault, Chain
from pipelines.orders.events import OrderCompleted, Refusal, StockAdjusted, money, total, units
from pipelines.orders.home import Home
from pipelines.orders.survey import Survey

WEB = "W"
"""The first letter of the invoice numbers of orders that came over HTTP."""


@dataclass(frozen=True)
class Check:
    """One line of the table: what was expected, what was found, which invoices differ."""

    what: str
    expected: str
    found: str
    differing: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.expected == self.found and not self.differing


@dataclass
class _Order:
    kind: str
    position: int
    total: Decimal
    units: int
    customer: bool


@dataclass
class _Left:
    """What the consumers left behind, by invoice."""

    emails: set[str] = field(default_factory=set)
    emails_dead: set[str] = field(default_factory=set)
    payments: dict[str, Decimal] = field(default_factory=dict)
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
        events[event.invoice] = _Order(type(event).__name__, position, sum, moved, customer)
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
    return checks + await to_thread.run_sync(_consumers, home, events, left)


def _sum(moved: dict[str, int]) -> int:
    return sum(moved.values())


def _file(
    survey: Survey, events: dict[str, _Order], rejected: int, broken: int, amount: Decimal
) -> list[Check]:
    published = sum(not invoice.startswith(WEB) for invoice in events)
    return [
        Check(
            "file: invoices, each an event or a dead letter", *_counts(survey.invoices, published + rejected)
        ),
        Check("file: rows that can't be read, in the dead letters", *_counts(survey.broken, broken)),
        Check("file: amount of all rows", money(survey.amount), money(amount)),
    ]


def _consumers(home: Home, events: dict[str, _Order], left: _Left) -> list[Check]:
    orders = {invoice: order for invoice, order in events.items() if order.kind == OrderCompleted.__name__}
    customers = {invoice for invoice, order in orders.items() if order.customer}
    mailed = left.emails | left.emails_dead
    checks = [
        Check(
            "email: a mail for each order of a customer, none for guests",
            *_counts(len(customers), len(mailed)),
            _differing(customers ^ mailed),
        )
    ]
    if home.mail.exists():
        mailbox = {str(message_id) for (message_id,) in _query(home.mail, _MAILS)}
        awaited = {f"<order-{invoice}@shop.example>" for invoice in left.emails}
        checks.append(
            Check(
                "email: the same mails, once each, in the mailbox",
                *_counts(len(awaited), len(mailbox)),
                _differing(awaited ^ mailbox),
            )
        )
    if home.stock.exists():
        applied = {event: (kind, moved) for event, kind, moved in _query(home.stock, _APPLIED)}
        expected = {invoice: (order.kind, order.units) for invoice, order in events.items()}
        (stock,) = next(_query(home.stock, _STOCK))
        checks += [
            Check(
                "inventory: a stock movement for each event",
                *_counts(len(expected), len(applied)),
                _differing({key for key, _ in expected.items() ^ applied.items()}),
            ),
            Check("inventory: units in stock", *_counts(sum(o.units for o in events.values()), stock)),
        ]
    checks += _payments(home, orders, left)
    checks.append(_audit(home.audit, events))
    return checks


def _payments(home: Home, orders: dict[str, _Order], left: _Left) -> list[Check]:
    decided: dict[str, Decimal | None] = {**left.payments, **left.payments_dead}
    twice = left.payments.keys() & left.payments_dead.keys()
    wrong = {invoice for invoice in orders if decided.get(invoice) != orders[invoice].total}
    paid = sum(left.payments.values(), Decimal(0))
    declined = sum((amount or Decimal(0) for amount in left.payments_dead.values()), Decimal(0))
    checks = [
        Check(
            "payment: each order paid or declined, never both",
            *_counts(len(orders), len(left.payments) + len(left.payments_dead)),
            _differing(twice | wrong | (decided.keys() - orders.keys())),
        ),
        Check(
            f"payment: amount paid ({money(paid)}) and declined ({money(declined)})",
            money(sum((order.total for order in orders.values()), Decimal(0))),
            money(paid + declined),
        ),
    ]
    if home.gateway.exists():
        books = {
            key.removeprefix("order-"): (status, amount)
            for key, status, amount in _query(home.gateway, _CHARGES)
        }
        awaited = {i: ("approved", str(amount)) for i, amount in left.payments.items() if amount > 0}
        awaited |= {i: ("declined", str(amount)) for i, amount in left.payments_dead.items()}
        checks.append(
            Check(
                "payment: the same charges in the gateway's books",
                *_counts(len(awaited), len(books)),
                _differing({key for key, _ in awaited.items() ^ books.items()}),
            )
        )
    return checks


def _audit(path: Path, events: dict[str, _Order]) -> Check:
    """Read the file against the events: the chain holds, and record n is the event at position n."""
    what = "audit: a record for each event, the chain holds"
    chain = Chain()
    differing: set[str] = set()
    try:
        with path.open("rb") as file:
            for line in file:
                head = chain.check(line)
                invoice = msgspec.json.decode(head.data)["invoice"]
                if invoice not in events or events[invoice].position != head.n:
                    differing.add(invoice)
    except OSError:
        pass
    except AuditFault as fault:
        return Check(what, str(len(events)), str(chain.n), (str(fault),))
    return Check(what, *_counts(len(events), chain.n), _differing(differing))


_MAILS = "SELECT message_id FROM mails"
_APPLIED = "SELECT event, kind, units FROM applied"
_STOCK = "SELECT coalesce(sum(quantity), 0) FROM stock"
_CHARGES = "SELECT key, status, amount FROM charges"


def _query(database: Path, query: str) -> Iterator[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, timeout=30)) as db:
        yield from db.execute(query)


def _counts(expected: int, found: int) -> tuple[str, str]:
    return f"{expected:,}", f"{found:,}"


def _differing(invoices: set[str]) -> tuple[str, ...]:
    shown = sorted(invoices)[:5]
    return (*shown, f"and {len(invoices) - 5:,} more") if len(invoices) > 5 else tuple(shown)
