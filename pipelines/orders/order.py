"""The order as an aggregate: its steps, the state that they add up to, and which step may follow which.

    placed --> paid --> packed --> shipped
       |         |         |          |
       '--> declined ------+----------+--> cancelled

An order has a stream of its own in the event store, ``order-INVOICE``; the steps are its events. Nothing of
the state is stored: it is what the steps say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from pipelines.orders.events import WEB, OrderCancelled, OrderCompleted, Payment, Refusal, total
from reactor.eventstore import NewEvent, StoredEvent

ORDER = "order"
"""The category of the orders' streams."""

# The steps --------------------------------------------------------------------------------------------------


class Placed(Struct, frozen=True, kw_only=True):
    """A customer, or a guest (``customer_id`` is None), has bought something."""

    invoice: str
    customer_id: str | None
    country: str
    lines: int
    units: int
    amount: Decimal


class Paid(Struct, frozen=True, kw_only=True):
    """The gateway has taken the money; ``reference`` is its own, None where there was nothing to pay."""

    amount: Decimal
    reference: str | None


class Declined(Struct, frozen=True, kw_only=True):
    """The gateway has refused, for good."""

    amount: Decimal | None
    reason: str


class Packed(Struct, frozen=True, kw_only=True):
    """The goods are taken off the shelf, and wrapped."""

    units: int


class Shipped(Struct, frozen=True, kw_only=True):
    """The parcel has left the house."""

    country: str


class Cancelled(Struct, frozen=True, kw_only=True):
    """All of the order was given back, by this cancellation; ``amount`` isn't positive."""

    cancellation: str
    amount: Decimal


Step = Placed | Paid | Declined | Packed | Shipped | Cancelled


class Status(StrEnum):
    """Where an order is, in the order in which it gets there."""

    placed = "placed"
    paid = "paid"
    declined = "declined"
    packed = "packed"
    shipped = "shipped"
    cancelled = "cancelled"


_LEADS_TO: dict[type[Step], Status] = {
    Placed: Status.placed,
    Paid: Status.paid,
    Declined: Status.declined,
    Packed: Status.packed,
    Shipped: Status.shipped,
    Cancelled: Status.cancelled,
}
_FROM: dict[type[Step], tuple[Status | None, ...]] = {
    Placed: (None,),
    Paid: (Status.placed,),
    Declined: (Status.placed,),
    Packed: (Status.paid,),
    Shipped: (Status.packed,),
    Cancelled: (Status.paid, Status.declined, Status.packed, Status.shipped),
}
SETTLED = frozenset({Status.declined, Status.shipped, Status.cancelled})
"""Nothing is left to do."""


class IllegalStep(Exception):
    """The order isn't where this step could be taken; nothing was stored."""

    def __init__(self, order: Order, step: Step) -> None:
        self.order = order
        self.step = step
        after = [status.value for status in _FROM[type(step)] if status is not None]
        now = "not placed yet" if order.status is None else order.status.value
        fix = f"only one that is {_either(after)} can" if after else "an order is placed once"
        super().__init__(
            f"order {order.invoice} is {now} (version {order.version}): it can't be "
            f"{_LEADS_TO[type(step)]}; {fix}"
        )


def _either(words: list[str]) -> str:
    return " or ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), words[-1]])


# The state --------------------------------------------------------------------------------------------------


class Order(Struct, frozen=True):
    """What an order's steps add up to."""

    invoice: str
    status: Status | None = None
    """None before the first step."""
    version: int = -1
    """Of the last step that is in it."""
    ids: tuple[str, ...] = ()
    """Of these steps."""
    customer_id: str | None = None
    country: str = ""
    units: int = 0
    amount: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    reason: str | None = None
    """Why it was declined."""
    cancellation: str | None = None

    def check(self, step: Step) -> None:
        """Raise IllegalStep where the step can't be the next one."""
        if self.status not in _FROM[type(step)]:
            raise IllegalStep(self, step)

    def after(self, step: Step, id: str) -> Order:
        """Return the order after the step. It doesn't check: what has happened has happened."""
        status, version, ids = _LEADS_TO[type(step)], self.version + 1, (*self.ids, id)
        match step:
            case Placed():
                return Order(
                    step.invoice,
                    status,
                    version,
                    ids,
                    step.customer_id,
                    step.country,
                    step.units,
                    step.amount,
                )
            case Paid():
                return replace(self, status=status, version=version, ids=ids, paid=step.amount)
            case Declined():
                return replace(self, status=status, version=version, ids=ids, reason=step.reason)
            case Cancelled():
                return replace(self, status=status, version=version, ids=ids, cancellation=step.cancellation)
            case Packed() | Shipped():
                return replace(self, status=status, version=version, ids=ids)


class Next(NamedTuple):
    """A step that is to be taken, at the shop's time, by one of its parts.

    The id comes from what caused the step: taken again, after a crash, it is known.
    """

    id: str
    step: Step
    time: datetime
    by: str

    def event(self) -> NewEvent[Step]:
        metadata = {"by": self.by, "recorded": datetime.now(UTC).isoformat(timespec="milliseconds")}
        return NewEvent(self.step, id=self.id, time=self.time, metadata=metadata)


def stream_of(invoice: str) -> str:
    """Return the name of the order's stream."""
    return f"{ORDER}-{invoice}"


def folded(orders: dict[str, Order], event: StoredEvent[Step]) -> dict[str, Order]:
    """Add an event to the orders, by stream; for the store's ``fold`` over all of them."""
    before = orders.get(event.stream) or Order("")
    orders[event.stream] = before.after(event.value, event.id or "")
    return orders


def by_status(orders: Iterable[Order]) -> dict[Status, int]:
    """Return how many orders there are of each status, all of them in their order."""
    counts = dict.fromkeys(Status, 0)
    for order in orders:
        if order.status is not None:
            counts[order.status] += 1
    return counts


# What causes them -------------------------------------------------------------------------------------------


def shop_time(order: OrderCompleted) -> datetime:
    """Return the time of a step that is taken now.

    The orders file says when an order was placed, and nothing of when it was paid or shipped: all its steps have
    the order's time. An order from the web has the time of day. When a step was recorded stands beside it.
    """
    return datetime.now(UTC) if order.invoice.startswith(WEB) else order.placed_at


def just_placed(invoice: str) -> Order:
    """Return the order as it probably is when nothing but its placing has happened."""
    return Order(invoice, Status.placed, 0, (f"placed {invoice}",))


def placed(order: OrderCompleted, by: str) -> Next:
    step = Placed(
        invoice=order.invoice,
        customer_id=order.customer_id,
        country=order.country,
        lines=len(order.lines),
        units=sum(line.quantity for line in order.lines),
        amount=total(order.lines),
    )
    return Next(f"placed {order.invoice}", step, order.placed_at, by)


def decided(order: OrderCompleted, decision: Payment | Refusal, by: str) -> Next:
    """Return what the gateway's decision is for the order."""
    if isinstance(decision, Payment):
        paid = Paid(amount=decision.amount, reference=decision.reference)
        return Next(f"paid {order.invoice}", paid, shop_time(order), by)
    declined = Declined(amount=decision.amount, reason=decision.reason)
    return Next(f"declined {order.invoice}", declined, shop_time(order), by)


def packed(order: OrderCompleted, by: str) -> Next:
    units = sum(line.quantity for line in order.lines)
    return Next(f"packed {order.invoice}", Packed(units=units), shop_time(order), by)


def shipped(order: OrderCompleted, by: str) -> Next:
    return Next(f"shipped {order.invoice}", Shipped(country=order.country), shop_time(order), by)


def cancelled(cancellation: OrderCancelled, by: str) -> Next:
    step = Cancelled(cancellation=cancellation.invoice, amount=total(cancellation.lines))
    return Next(f"cancelled by {cancellation.invoice}", step, cancellation.cancelled_at, by)
