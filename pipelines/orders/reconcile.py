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
from pipelines.orders.events import OrderCompleted, Refusal, StockAdjusted, grouped, total, units
from pipelines.orders.home import Home
from pipelines.orders.survey import Survey

WEB = "W"
"""The first letter of the invoice numbers of orders that came over HTTP."""


@dataclass(frozen=True)
class Check:
    """One line of the table: what was expected, what was found, which invoices differ."""

    part: str
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
    invoices = _counts(survey.invoices, published + rejected)
    return [
        Check("file", "invoices: events or dead letters", *invoices),
        Check("file", "broken rows in the dead letters", *_counts(survey.broken, broken)),
        Check("file", "amount of all rows, GBP", grouped(survey.amount), grouped(amount)),
    ]


def _consumers(home: Home, events: dict[str, _Order], left: _Left) -> list[Check]:
    orders = {invoice: order for invoice, order in events.items() if order.kind == OrderCompleted.__name__}
    parts: dict[str, Callable[[], list[Check]]] = {
        "email": lambda: _emails(home, orders, left),
        "inventory": lambda: _stock(home, events),
        "payment": lambda: _payments(home, orders, left),
        "audit": lambda: [_audit(home.audit, events)],
    }
    checks: list[Check] = []
    for part, check in parts.items():
        try:
            checks += check()
        except sqlite3.DatabaseError as error:
            checks.append(Check(part, "its database can be read", "yes", "no", (str(error),)))
    return checks


def _emails(home: Home, orders: dict[str, _Order], left: _Left) -> list[Check]:
    customers = {invoice for invoice, order in orders.items() if order.customer}
    mailed = left.emails | left.emails_dead
    counts = _counts(len(customers), len(mailed))
    checks = [Check("email", "a mail for each customer's order", *counts, _differing(customers ^ mailed))]
    if home.mail.exists():
        mailbox = {str(message_id) for (message_id,) in _query(home.mail, _MAILS)}
        awaited = {f"<order-{invoice}@shop.example>" for invoice in left.emails}
        counts = _counts(len(awaited), len(mailbox))
        differing = _differing(awaited ^ mailbox)
        checks.append(Check("email", "the same mails in the mailbox", *counts, differing))
    return checks


def _stock(home: Home, events: dict[str, _Order]) -> list[Check]:
    expected = {invoice: (order.kind, order.units) for invoice, order in events.items()}
    applied: dict[str, tuple[str, int]] = {}
    stock = 0
    if home.stock.exists():
        applied = {event: (kind, moved) for event, kind, moved in _query(home.stock, _APPLIED)}
        ((stock,),) = _query(home.stock, _STOCK)
    differing = _differing({invoice for invoice, _ in expected.items() ^ applied.items()})
    units = _counts(sum(order.units for order in events.values()), stock)
    return [
        Check("inventory", "a movement for each event", *_counts(len(expected), len(applied)), differing),
        Check("inventory", "units in stock", *units),
    ]


def _payments(home: Home, orders: dict[str, _Order], left: _Left) -> list[Check]:
    decided = {**left.payments, **left.payments_dead}
    twice = left.payments.keys() & left.payments_dead.keys()
    wrong = {invoice for invoice in orders if decided.get(invoice) != orders[invoice].total}
    counts = _counts(len(orders), len(left.payments) + len(left.payments_dead))
    differing = _differing(twice | wrong | (decided.keys() - orders.keys()))
    checks = [Check("payment", "orders paid or declined, not both", *counts, differing)]
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
        counts = _counts(len(awaited), len(books))
        differing = _differing({invoice for invoice, _ in awaited.items() ^ books.items()})
        checks.append(Check("payment", "the gateway's books say the same", *counts, differing))
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
    counts = _counts(len(events), chain.n)
    return Check("audit", "a record each, unbroken chain", *counts, fault or _differing(differing))


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
