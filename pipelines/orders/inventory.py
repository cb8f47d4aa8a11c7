"""The consumer ``inventory``: the stock of each product, in a SQLite table."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from pipelines.orders.events import OrderEvent, units
from pipelines.orders.home import Home
from pipelines.orders.world import World
from reactor import Pipeline, Sink

_TABLES = """
CREATE TABLE IF NOT EXISTS stock (
    code TEXT PRIMARY KEY, quantity INTEGER NOT NULL, moves INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (
    event TEXT PRIMARY KEY, kind TEXT NOT NULL, units INTEGER NOT NULL
) WITHOUT ROWID;
"""


class StockTable(Sink[OrderEvent]):
    """Orders take from the stock, cancellations give back, adjustments do what they say.

    An event's id stands in the same transaction as what it moved: applied twice, it changes nothing.
    The file doesn't say what was there in the beginning, so each product begins at 0.
    """

    def __init__(self, path: Path) -> None:
        self.name = "stock"
        self._path = path
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        self._db = await to_thread.run_sync(self._connect)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_TABLES)
        return db

    async def write(self, events: Sequence[OrderEvent]) -> None:
        """Apply them in one transaction, which is durable when this returns."""
        await to_thread.run_sync(self._apply, events)

    def _apply(self, events: Sequence[OrderEvent]) -> None:
        db = self._db
        assert db is not None
        db.execute("BEGIN IMMEDIATE")
        try:
            for event in events:
                moved = units(event)
                fresh = db.execute(
                    "INSERT OR IGNORE INTO applied VALUES (?, ?, ?)",
                    (event.invoice, type(event).__name__, sum(moved.values())),
                ).rowcount
                if fresh:
                    db.executemany(
                        "INSERT INTO stock VALUES (?, ?, 1) ON CONFLICT (code) DO UPDATE"
                        " SET quantity = quantity + excluded.quantity, moves = moves + 1",
                        moved.items(),
                    )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(db.close)


@asynccontextmanager
async def inventory(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline."""
    yield Pipeline("inventory", home.orders().subscribe("inventory").to(StockTable(home.stock)))
