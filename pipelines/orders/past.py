"""What was: an order's story, and the shop as of some time, from the events alone.

Times are the shop's: those of the orders file for what it tells of, see ``order.shop_time``.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches

from msgspec import Struct, to_builtins

from pipelines.orders.events import (
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    happened_at,
    money,
    total,
    units,
)
from pipelines.orders.home import Home
from pipelines.orders.order import ORDER, Order, Status, Step, by_status, folded, stream_of
from reactor.eventstore import Category, StoredEvent

TOP = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# An order's story -------------------------------------------------------------------------------------------


class NoSuchOrder(Exception):
    """There is nothing to tell of; the message says what to do."""


@dataclass(frozen=True)
class Told:
    """A step, and the order after it."""

    step: Step
    time: datetime
    by: str
    recorded: str
    order: Order

    def json(self) -> dict[str, object]:
        details: dict[str, object] = to_builtins(self.step)
        return {
            "version": self.order.version,
            "step": type(self.step).__name__,
            "time": self.time.isoformat(),
            "details": details,
            "status": self.order.status,
            "recorded": self.recorded,
            "by": self.by,
        }


async def story(home: Home, invoice: str) -> list[Told]:
    """Return the order's steps. Raises NoSuchOrder where it has none."""
    told: list[Told] = []
    order = Order(invoice)
    if invoice.isprintable() and "/" not in invoice:
        async for event in home.steps().read(stream_of(invoice)):
            order = order.after(event.value, event.id or "")
            metadata = event.metadata
            told.append(
                Told(
                    event.value, _at(event.time), metadata.get("by", ""), metadata.get("recorded", ""), order
                )
            )
    if not told:
        raise NoSuchOrder(await _why_not(home, invoice))
    return told


async def _why_not(home: Home, invoice: str) -> str:
    where = f"{home.path}: there is no order {invoice!r}"
    found = await _published(home, invoice)
    if isinstance(found, OrderCompleted):
        return (
            f"{home.path}: order {invoice} is published, and fulfilment hasn't come to it yet; "
            "run `consume fulfilment`, or wait for it"
        )
    if found is not None:
        kind = "cancellation" if isinstance(found, OrderCancelled) else "stock adjustment"
        return f"{where}: that is a {kind}, which has no story of its own; name an order"
    known = [name.removeprefix(stream_of("")) for name in await home.steps().streams(ORDER)]
    if not known:
        return f"{where}, nor any other: run `consume fulfilment` with this --home first"
    close = get_close_matches(invoice, known, 3, 0.7) or known[:1]
    return f"{where} among its {len(known):,}; orders are named by their invoice, such as {', '.join(close)}"


async def _published(home: Home, invoice: str) -> OrderEvent | None:
    async with aclosing(home.orders().records()) as records:
        async for record in records:
            if record.value.invoice == invoice:
                return record.value
    return None


def _at(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


# The shop then ----------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """Return the time that is meant: a day is meant to its end. Raises ValueError."""
    try:
        return datetime.combine(date.fromisoformat(text), time.max, UTC)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text}: is no time; write 2010-12-07, or 2010-12-07T12:00") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class Product(Struct, frozen=True):
    """What was sold of a product, and what was left of it: the stock begins at 0."""

    stock_code: str
    description: str
    sold: int
    stock: int


@dataclass
class _Sums:
    """Of the topic's events."""

    published: int = 0
    given_back: Decimal = Decimal(0)
    first: datetime | None = None
    sold: dict[str, int] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)

    def add(self, event: StoredEvent[OrderEvent]) -> _Sums:
        value = event.value
        if isinstance(value, OrderCompleted):
            self.published += 1
            for line in value.lines:
                self.sold[line.stock_code] = self.sold.get(line.stock_code, 0) + line.quantity
                if line.description:
                    self.descriptions[line.stock_code] = line.description
        elif isinstance(value, OrderCancelled):
            self.given_back += total(value.lines)
        for code, moved in units(value).items():
            self.stock[code] = self.stock.get(code, 0) + moved
        if self.first is None or happened_at(value) < self.first:
            self.first = happened_at(value)
        return self


@dataclass(frozen=True)
class ShopThen:
    """The shop at some time."""

    time: datetime
    orders: int
    """Whose streams had begun."""
    waiting: int
    """Placed until then, and not in any stream yet: fulfilment is behind."""
    by_status: dict[Status, int]
    amounts: dict[Status, Decimal]
    """Of the orders of each status."""
    placed: Decimal
    paid: Decimal
    """What customers had paid."""
    given_back: Decimal
    """What all cancellations sum up to, those of a part of an order included: not positive."""
    units: int
    products: int
    top: tuple[Product, ...]
    """Those of which most was sold."""
    first: datetime | None
    """When the first thing happened."""

    @property
    def revenue(self) -> Decimal:
        return self.paid + self.given_back

    def json(self) -> dict[str, object]:
        return {
            "time": self.time.isoformat(),
            "orders": self.orders,
            "orders_by_status": {status.value: count for status, count in self.by_status.items()},
            "order_total": money(self.placed),
            "paid": money(self.paid),
            "cancellation_total": money(self.given_back),
            "revenue": money(self.revenue),
            "stock": {"units": self.units, "products": self.products, "top": to_builtins(self.top)},
        }


async def as_of(home: Home, time: datetime) -> ShopThen:
    """Return the shop as it was; what happened at that very time counts."""
    orders: dict[str, Order] = await home.steps().fold(Category(ORDER), dict, folded, until=time)
    sums = await home.store().fold(home.orders().name, _Sums, _Sums.add, until=time)
    amounts = dict.fromkeys(Status, Decimal(0))
    for order in orders.values():
        if order.status is not None:
            amounts[order.status] += order.amount
    ranked = sorted(sums.sold.items(), key=lambda sold: (-sold[1], sold[0]))[:TOP]
    first = sums.first
    if first is None:
        async for event in home.store().read(home.orders().name, limit=1):
            first = happened_at(event.value)
    return ShopThen(
        time=time,
        orders=len(orders),
        waiting=sums.published - len(orders),
        by_status=by_status(orders.values()),
        amounts=amounts,
        placed=sum(amounts.values(), Decimal(0)),
        paid=sum((order.paid for order in orders.values()), Decimal(0)),
        given_back=sums.given_back,
        units=sum(sums.stock.values()),
        products=len(sums.stock),
        top=tuple(
            Product(code, sums.descriptions.get(code, ""), sold, sums.stock[code]) for code, sold in ranked
        ),
        first=first,
    )
