"""Do the orders' own streams add up? Against the events of the topic, and what the payments say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pipelines.orders.check import Check, amounts_of, counts, differing_of
from pipelines.orders.events import OrderCompleted, OrderEvent
from pipelines.orders.givenback import GivingBack
from pipelines.orders.home import Home
from pipelines.orders.order import ORDER, IllegalStep, Order, by_status, stream_of


@dataclass
class Streams:
    """What the streams say, by invoice."""

    orders: dict[str, Order] = field(default_factory=dict)
    illegal: set[str] = field(default_factory=set)
    """Orders with a step that couldn't follow."""


async def read_streams(home: Home) -> Streams:
    streams = Streams()
    async for event in home.steps().read_all(category=ORDER):
        invoice = event.stream.removeprefix(stream_of(""))
        order = streams.orders.get(invoice) or Order(invoice)
        try:
            order.check(event.value)
        except IllegalStep:
            streams.illegal.add(invoice)
        streams.orders[invoice] = order.after(event.value, event.id or "")
    return streams


def check_streams(
    events: Sequence[OrderEvent], payments: Mapping[str, Decimal | None], streams: Streams
) -> list[Check]:
    """Compare the orders' own streams with the events, and with what the payments say."""
    placed = {event.invoice for event in events if isinstance(event, OrderCompleted)}
    differing = differing_of((placed ^ streams.orders.keys()) | streams.illegal)
    in_states = sum(by_status(streams.orders.values()).values())
    paid = {invoice: amount or Decimal(0) for invoice, amount in payments.items()}
    shipped = {i: order.paid for i, order in streams.orders.items() if f"shipped {i}" in order.ids}
    amounts = amounts_of(paid, shipped)
    unlike = differing_of({invoice for invoice, _ in paid.items() ^ shipped.items()})
    giving_back = GivingBack()
    matches = [match for event in events if (match := giving_back.add(event)) is not None]
    due = {match.order: match.cancellation.invoice for match in matches}
    found = {i: order.cancellation for i, order in streams.orders.items() if order.cancellation is not None}
    wrong = differing_of({invoice for invoice, _ in due.items() ^ found.items()})
    return [
        Check("fulfilment", "orders, each in one state", *counts(len(placed), in_states), differing),
        Check("fulfilment", "what is paid is shipped, GBP", *amounts, unlike),
        Check("fulfilment", "what is given back is cancelled", *counts(len(due), len(found)), wrong),
    ]
