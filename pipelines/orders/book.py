"""The orders' streams in the event store: read to a state, written by steps that fit it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import asynccontextmanager

import anyio

from pipelines.orders.home import Home
from pipelines.orders.order import ORDER, Next, Order, Step, folded, stream_of
from reactor.eventstore import NO_STREAM, EventStore, RepeatedIds, StoredEvent, VersionClash


class OrderBook:
    """Reads orders, and takes their next steps: each once, and none that the order's state doesn't allow."""

    def __init__(self, store: EventStore[Step]) -> None:
        self._store = store

    async def order(self, invoice: str) -> Order:
        """Return the order as it is; one without a status where nothing is known of it."""

        def apply(order: Order, event: StoredEvent[Step]) -> Order:
            return order.after(event.value, event.id or "")

        return await self._store.fold(stream_of(invoice), Order(invoice), apply)

    async def changed(self, orders: dict[str, Order], position: int) -> int:
        """Bring the orders, by stream, up to now from the position on; return the position to go on at."""
        async for event in self._store.read_all(position, category=ORDER):
            folded(orders, event)
            position = event.position + 1
        return position

    async def take(self, invoice: str, *steps: Next, believed: Order | None = None) -> Order:
        """Take those of the steps that aren't taken yet, all or none; return the order after them.

        ``believed`` is the order as the caller thinks that it is, which spares reading it: the store compares
        its version. Where somebody else has been faster, the order is read again, and it is decided anew
        which of the steps are still to be taken, and whether they fit. Raises IllegalStep where one doesn't.
        """
        order = believed
        while True:
            if order is None:
                order = await self.order(invoice)
            expected = NO_STREAM if order.status is None else order.version
            new = [step for step in steps if step.id not in order.ids]
            for next in new:
                order.check(next.step)
                order = order.after(next.step, next.id)
            if not new:
                return order
            events = [next.event() for next in new]
            try:
                await self._store.append(stream_of(invoice), events, expected_version=expected)
            except (
                VersionClash,
                RepeatedIds,
            ):  # the order isn't as it was believed to be, or read a moment ago
                order = None
            else:
                return order


@asynccontextmanager
async def order_book(home: Home) -> AsyncGenerator[OrderBook, None]:
    """Yield the orders' book, which is open as long."""
    async with home.steps() as store:
        yield OrderBook(store)


async def side_by_side(calls: Iterable[Coroutine[None, None, object]]) -> None:
    """Await them all at once: what is appended at the same time is one transaction. Raises the first failure."""

    async def call(one: Coroutine[None, None, object]) -> None:
        await one

    try:
        async with anyio.create_task_group() as tasks:
            for each in calls:
                tasks.start_soon(call, each)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
