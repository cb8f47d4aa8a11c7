"""Rows to invoices, invoices to events."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pipelines.orders.events import (
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    Rejected,
    StockAdjusted,
    total,
)
from pipelines.orders.rows import CONTENT, End, Row

HELD_ROWS = 50_000
"""Rows of open invoices in memory; what is more goes to a temporary file."""


class Invoice(NamedTuple):
    """All rows of an invoice, in the order of the file; at least one."""

    number: str
    rows: list[Row]


class Gather:
    """Takes the rows in the order of the file; gives each invoice once its last line is reached.

    ``last_lines`` are (line, invoice) in the order of the lines. Its calls block; they come one after the
    other, from whatever thread.
    """

    def __init__(self, last_lines: Iterator[tuple[int, str]], held_rows: int = HELD_ROWS) -> None:
        self._last_lines = last_lines
        self._held_rows = held_rows
        self._held = 0
        self._open: dict[str, list[Row]] = {}
        self._next: tuple[int, str] | None = None
        self._begun = False
        self._spill: _Spill | None = None

    def add(self, rows: Sequence[Row | End]) -> list[Invoice]:
        complete: list[Invoice] = []
        if not self._begun:
            self._begun = True
            self._next = next(self._last_lines, None)
        for row in rows:
            if isinstance(row, End):
                self._close(None, complete)
                continue
            self._close(row.line, complete)
            opened = self._open.get(row.invoice)
            if opened is None:
                self._open[row.invoice] = [row]
            else:
                opened.append(row)
            self._held += 1
            if self._held >= self._held_rows:
                self._spill = self._spill or _Spill()
                self._spill.put(self._open)
                self._open.clear()
                self._held = 0
        return complete

    def _close(self, line: int | None, complete: list[Invoice]) -> None:
        while self._next is not None and (line is None or self._next[0] < line):
            number = self._next[1]
            rows = self._open.pop(number, [])
            self._held -= len(rows)
            if self._spill is not None:
                rows = self._spill.take(number) + rows
            if rows:
                complete.append(Invoice(number, rows))
            self._next = next(self._last_lines, None)


class _Spill:
    """Rows in a temporary database, which is gone with its connection."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE rows (invoice TEXT, line INTEGER, packed BLOB)")
        self._db.execute("CREATE INDEX by_invoice ON rows (invoice, line)")
        self._decode = msgspec.msgpack.Decoder(list[Row]).decode

    def put(self, opened: dict[str, list[Row]]) -> None:
        encode = msgspec.msgpack.encode
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?)",
            ((number, rows[0].line, encode(rows)) for number, rows in opened.items()),
        )
        self._db.execute("COMMIT")

    def take(self, number: str) -> list[Row]:
        found = self._db.execute("SELECT packed FROM rows WHERE invoice = ? ORDER BY line", (number,))
        return [row for (packed,) in found for row in self._decode(packed)]


_ORDER = re.compile(r"[0-9]+")
_CANCELLATION = re.compile(r"C[0-9]+")


def classify(invoice: Invoice) -> OrderEvent | Rejected:
    """Return what happened, or why the invoice is none of the three."""
    number, rows = invoice
    lines = tuple(row.item for row in rows)
    time = min(row.time for row in rows)  # some invoices span two minutes
    country = rows[0].country
    customer = next((row.customer_id for row in rows if row.customer_id is not None), None)
    if _CANCELLATION.fullmatch(number):
        return OrderCancelled(
            invoice=number, customer_id=customer, country=country, cancelled_at=time, lines=lines
        )
    if not _ORDER.fullmatch(number):
        content = "; ".join(f"{line.description}: {line.quantity} x {line.unit_price}" for line in lines)
        return Rejected(
            line=rows[0].line,
            reason=f"invoice {number} is neither an order (digits) nor a cancellation (C and digits)",
            invoice=number,
            amount=total(lines),
            content=content[:CONTENT],
        )
    if all(line.quantity > 0 for line in lines):
        return OrderCompleted(
            invoice=number, customer_id=customer, country=country, placed_at=time, lines=lines
        )
    return StockAdjusted(invoice=number, country=country, adjusted_at=time, lines=lines)
