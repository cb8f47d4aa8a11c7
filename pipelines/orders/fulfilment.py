"""The consumer ``fulfilment``: an order is placed, and when it is paid it is packed and shipped.

It takes the steps of the orders' own streams (``order``): all but the payment's. It reads the topic twice. Once
to the end, to note what is placed; and once as far as payment has come: there each order is paid or declined, so
that what it does depends on the events alone, and not on who was faster. Nobody packs in a simulated shop:
*packed* and *shipped* say that the order has come this far, and are written together.

A cancellation that gives back all of an order (``givenback``) cancels it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from pipelines.orders import payment
from pipelines.orders.book import OrderBook, order_book, side_by_side
from pipelines.orders.events import OrderCompleted, OrderEvent
from pipelines.orders.givenback import GivingBack
from pipelines.orders.home import Home, OrderTopic
from pipelines.orders.order import SETTLED, Next, Order, Status, cancelled, packed, placed, shipped, stream_of
from pipelines.orders.world import World
from reactor import Pipeline, Record, Sink, Source, Stream

NAME = "fulfilment"
PLACING = "fulfilment.placed"
"""The group that reads to the end."""
_LOOK = 0.05
"""Seconds between two looks at how far payment is."""


class Settled(Source[OrderEvent]):
    """The events that payment is done with, in the order of the topic."""

    replay = True

    def __init__(self, orders: OrderTopic, group: str) -> None:
        self.name = f"{orders.name} behind {payment.NAME}"
        self._orders = orders
        self._source = orders.source(group)
        self.identity = self._source.identity

    async def open(self) -> None:
        await self._source.open()

    async def read(self, limit: int) -> Sequence[Record[OrderEvent]] | None:
        here = self._source.position() or 0
        while (settled := await self._orders.position(payment.NAME) or 0) <= here:  # noqa: ASYNC110
            await anyio.sleep(_LOOK)
        return await self._source.read(min(limit, settled - here))

    def position(self) -> int | None:
        return self._source.position()

    async def seek(self, position: int) -> None:
        await self._source.seek(position)

    async def commit(self, position: int) -> None:
        await self._source.commit(position)

    async def close(self) -> None:
        await self._source.close()


class Placing(Sink[OrderCompleted]):
    """Begins the stream of each order."""

    def __init__(self, book: OrderBook) -> None:
        self.name = "placing"
        self._book = book

    async def write(self, orders: Sequence[OrderCompleted]) -> None:
        await side_by_side(
            self._book.take(order.invoice, placed(order, NAME), believed=Order(order.invoice))
            for order in orders
        )


class Fulfilling(Sink[OrderEvent]):
    """Takes the steps behind the payment."""

    def __init__(self, book: OrderBook, orders: OrderTopic, group: str) -> None:
        self.name = "fulfilling"
        self._book = book
        self._orders = orders
        self._group = group
        self._giving_back = GivingBack()
        self._underway: dict[str, Order] = {}
        """By stream, as they were at ``_position`` of the store: one reading for all of a write."""
        self._position = 0

    async def open(self) -> None:
        """Find out which orders and cancellations still wait for each other before the group's position."""
        position = await self._orders.position(self._group) or 0
        async for record in self._orders.records():
            assert record.position is not None
            if record.position < position:
                self._giving_back.add(record.value)

    async def write(self, events: Sequence[OrderEvent]) -> None:
        """Handle the orders side by side."""
        orders = {event.invoice: event for event in events if isinstance(event, OrderCompleted)}
        self._position = await self._book.changed(self._underway, self._position)
        given_back = {
            found.order: found.cancellation for found in map(self._giving_back.add, events) if found
        }
        cancellations = {invoice: cancelled(event, NAME) for invoice, event in given_back.items()}
        fulfilling = [
            self._fulfil(order, cancellations.pop(invoice, None)) for invoice, order in orders.items()
        ]
        cancelling = [self._book.take(invoice, step) for invoice, step in cancellations.items()]
        await side_by_side([*fulfilling, *cancelling])
        settled = [stream for stream, order in self._underway.items() if order.status in SETTLED]
        for stream in settled:
            del self._underway[stream]

    async def _fulfil(self, event: OrderCompleted, cancellation: Next | None) -> None:
        order = self._underway.get(stream_of(event.invoice)) or await self._book.order(event.invoice)
        if order.status not in (Status.declined, Status.cancelled):
            steps = packed(event, NAME), shipped(event, NAME)
            order = await self._book.take(event.invoice, *steps, believed=order)
        if cancellation is not None:
            await self._book.take(event.invoice, cancellation, believed=order)


@asynccontextmanager
async def fulfilment(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline, with the orders' streams that it writes."""
    orders = home.orders()
    async with orders, order_book(home) as book:
        yield Pipeline(
            NAME,
            orders.subscribe(PLACING, OrderCompleted).to(Placing(book)),
            Stream(Settled(orders, NAME)).to(Fulfilling(book, orders, NAME)),
            interval=0.25,
        )
