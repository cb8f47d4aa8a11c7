"""The bus: a broker between the shop and its consumers, in the place of the embedded one.

    producer, web --> bus: topic orders --+--> journal        (one process)
                                          +--> email          (any number of processes)
                                          '--> payment        (any number of processes)

The journal writes what comes over the bus into HOME's topic ``orders``, each event once, in the order in which
it came; what needs one order of all events (fulfilment, inventory, audit, analytics, the report) reads that.
E-mail and payment take their events from the bus as groups, so that several processes share the work. How far
they have come in the journal's order is told by what they leave behind: ``Ledger``.

Amazon SQS has queues of one group each: the journal takes its events from ``orders``, and passes them on.

    producer, web --> queue orders --> journal --+--> queue orders-email   --> email
                                                 '--> queue orders-payment --> payment
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import msgspec

from pipelines.orders.email import has_customer
from pipelines.orders.events import (
    WEB,
    OrderCompleted,
    OrderEvent,
    Refusal,
    customer_or_invoice,
    happened_at,
    invoice_of,
)
from pipelines.orders.home import SHARED, Home
from pipelines.orders.survey import Survey
from pipelines.orders.world import World
from reactor import Pipeline, Topic

JOURNAL = "journal"
DISORDER = timedelta(days=400)
"""Partitions are read each at its own pace: events of one may come a whole file later than another's."""
_LOOK = 0.1


@asynccontextmanager
async def journal(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline; what comes twice over the bus is stored once.

    Where it passes events on, one is done with when it has reached all of the queues.
    """
    targets = [home.orders(), *(home.shared(name) for name in SHARED if home.passes_on)]
    came = home.published().subscribe(JOURNAL)
    into = [came.to(one, key=customer_or_invoice, time=happened_at, id=invoice_of) for one in targets]
    yield Pipeline(JOURNAL, *into, interval=0.25)


async def journaled(home: Home, survey: Survey) -> bool:
    """Say whether all events of the surveyed file have come over the bus."""
    async with home.orders() as orders, home.rejected() as rejected:
        if await orders.length() + await rejected.length() < survey.invoices:
            return False
        events = [record.value.invoice async for record in orders.records()]
        aside = [record.value async for record in rejected.records()]
    from_file = sum(not invoice.startswith(WEB) for invoice in events)
    return from_file + sum(one.amount is not None for one in aside) >= survey.invoices


class _Group:
    """How far a consumer has come: all events before ``position`` have their result, or need none."""

    def __init__(self, name: str, concerns: Callable[[OrderEvent], bool], *results: Topic[Any]) -> None:
        self.name = name
        self.concerns = concerns
        self.results = results
        self.read = [0 for _ in results]
        self.position = 0
        self.settled: set[str] = set()
        self.waiting: deque[tuple[int, str | None]] = deque()

    def add(self, position: int, event: OrderEvent) -> None:
        self.waiting.append((position, event.invoice if self.concerns(event) else None))

    async def look(self) -> int:
        """Read what results there are, and return how far it has come."""
        for at, results in enumerate(self.results):
            async for record in results.records(self.read[at]):
                self.read[at] = (record.position or 0) + 1
                value = record.value
                refused = value if hasattr(value, "invoice") else msgspec.convert(value.event, Refusal)
                self.settled.add(refused.invoice)
        while self.waiting and (self.waiting[0][1] is None or self.waiting[0][1] in self.settled):
            position, invoice = self.waiting.popleft()
            self.settled.discard(invoice or "")
            self.position = position + 1
        return self.position


class Ledger:
    """Moves the groups of e-mail and payment in the journal as far as each event has its result."""

    def __init__(self, home: Home) -> None:
        self._orders = home.orders()
        self._groups = (
            _Group("email", _mailed, home.emails(), home.dead_letters("emails.dead")),
            _Group("payment", _paid, home.payments(), home.dead_letters("payments.dead")),
        )
        self._read = 0

    async def keep(self) -> None:
        """Look again and again, until it is cancelled."""
        async with self._orders:
            while True:
                await self.look()
                await anyio.sleep(_LOOK)

    async def look(self) -> None:
        async for record in self._orders.records(self._read):
            assert record.position is not None
            for group in self._groups:
                group.add(record.position, record.value)
            self._read = record.position + 1
        told = await self._orders.groups()
        for group in self._groups:
            position = await group.look()
            if position > told.get(group.name, 0):
                await self._orders.reset(group.name, position)


def _paid(event: OrderEvent) -> bool:
    return isinstance(event, OrderCompleted)


def _mailed(event: OrderEvent) -> bool:
    return isinstance(event, OrderCompleted) and has_customer(event)
