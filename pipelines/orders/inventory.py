"""The consumer ``inventory``: the stock of each product, in a SQLite table.

The table is a projection of the topic ``orders``, which is a stream of the event store as well: its rows and the
position behind the last event in them are one transaction. It is nothing but what the events say: deleted, it is
there again after the next start; ``rebuild inventory`` makes it anew while the old one is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from pipelines.orders.events import OrderEvent, units
from pipelines.orders.home import Home
from pipelines.orders.world import World
from reactor import Pipeline, Sink
from reactor.eventstore import Category, Projection, StoredEvent

_TABLES = """
CREATE TABLE stock (
    code TEXT PRIMARY KEY, quantity INTEGER NOT NULL, moves INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE applied (
    event TEXT PRIMARY KEY, kind TEXT NOT NULL, units INTEGER NOT NULL
) WITHOUT ROWID;
"""


def stock(home: Home) -> Projection[OrderEvent]:
    """Return the projection. The file doesn't say what was there in the beginning: products begin at 0."""
    return Projection(
        "inventory",
        home.store(),
        _apply,
        tables=_TABLES,
        into=f"sqlite:{home.stock.absolute()}",
        target=Category(home.orders().name),
    )


def _apply(db: sqlite3.Connection, event: StoredEvent[OrderEvent]) -> None:
    """Orders take from the stock, cancellations give back, adjustments do what they say."""
    moved = units(event.value)
    db.execute("INSERT INTO applied VALUES (?, ?, ?)", (event.value.invoice, event.type, sum(moved.values())))
    db.executemany(
        "INSERT INTO stock VALUES (?, ?, 1) ON CONFLICT (code) DO UPDATE"
        " SET quantity = quantity + excluded.quantity, moves = moves + 1",
        moved.items(),
    )


class Stock(Sink[OrderEvent]):
    """Catches the projection up with the events that it is given; the group tells how far that is."""

    def __init__(self, home: Home) -> None:
        self.name = "stock"
        self._projection = stock(home)

    async def open(self) -> None:
        """The table may be behind the group: somebody has deleted it."""
        await self._projection.catch_up()

    async def write(self, events: Sequence[OrderEvent]) -> None:
        await self._projection.catch_up()


@asynccontextmanager
async def inventory(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline."""
    yield Pipeline("inventory", home.orders().subscribe("inventory").to(Stock(home)))
