"""The first look at the orders file: which file it is, and where each invoice ends.

The rows of an invoice needn't stand together, and an invoice that is split in two is charged wrongly. No
silence, however long, says that an invoice is complete; so the file is read twice. The first time notes each
invoice's last line, in a table on disk: what the second time has to hold is the rows of the invoices that are
open at that line, whatever the order of the rows.

The same table tells how far the invoices' times are out of order when they are published in the order of
their last lines: as far as that, whoever works in event time has to wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pipelines.orders.rows import BadFile, Row, check, fingerprint, records

_PAGE = 5000
_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT NOT NULL, digest TEXT NOT NULL, rows INTEGER NOT NULL, broken INTEGER NOT NULL,
    invoices INTEGER NOT NULL, amount TEXT NOT NULL, disorder INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS invoices (
    number TEXT PRIMARY KEY, last_line INTEGER NOT NULL, time INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_last_line ON invoices (last_line);
"""
_NOTE = """
INSERT INTO invoices VALUES (?, ?, ?) ON CONFLICT (number) DO UPDATE
SET last_line = excluded.last_line, time = min(time, excluded.time)
"""
_DISORDER = """
SELECT coalesce(max(highest - time), 0)
FROM (SELECT time, max(time) OVER (ORDER BY last_line) AS highest FROM invoices)
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Survey:
    """What is known of an orders file."""

    path: str
    digest: str
    rows: int
    """After the header."""
    broken: int
    """Rows that can't be read."""
    invoices: int
    """With at least one row that can."""
    amount: Decimal
    """What all rows sum up to: a control total, counted apart from the events."""
    disorder: timedelta
    """How far the time of an invoice is at most behind the latest one that is published before it."""
    published: bool


def connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_TABLES)
    return connection


def known(database: Path) -> Survey | None:
    """Return the survey that stands in HOME, None where there is none yet."""
    if not database.exists():
        return None
    with closing(connect(database)) as db:
        row = db.execute(
            "SELECT path, digest, rows, broken, invoices, amount, disorder, published FROM file"
        ).fetchone()
    if row is None:
        return None
    path, digest, rows, broken, invoices, amount, disorder, published = row
    disorder = timedelta(microseconds=disorder)
    return Survey(path, digest, rows, broken, invoices, Decimal(amount), disorder, bool(published))


def survey(path: Path, database: Path) -> Survey:
    """Return the survey of the file, made now where there is none; this blocks.

    Raises BadFile for a file that can't be used, or isn't the one that this HOME was made from.
    """
    digest = fingerprint(path)
    before = known(database)
    if before is not None:
        if before.digest != digest:
            raise BadFile(
                f"{path}: {database.parent} was made from another orders file ({before.path}, "
                f"{before.rows} rows, {before.invoices} invoices); choose another --home"
            )
        return before
    page: dict[str, tuple[int, datetime]] = {}
    rows = broken = 0
    amount = Decimal(0)
    with closing(connect(database)) as db:
        db.execute("BEGIN IMMEDIATE")
        for row in map(check, records(path)):
            rows += 1
            if isinstance(row, Row):
                noted = page.get(row.invoice)
                if noted is None and len(page) >= _PAGE:
                    _note(db, page)
                # An invoice's time is that of its earliest row: see classify().
                first = row.time if noted is None else min(row.time, noted[1])
                page[row.invoice] = (row.line, first)
                amount += row.item.amount
            else:
                broken += 1
        _note(db, page)
        (invoices,) = db.execute("SELECT count(*) FROM invoices").fetchone()
        (disorder,) = db.execute(_DISORDER).fetchone()
        db.execute(
            "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (str(path), digest, rows, broken, invoices, str(amount), disorder),
        )
        db.execute("COMMIT")
    behind = timedelta(microseconds=disorder)
    return Survey(str(path), digest, rows, broken, invoices, amount, behind, published=False)


def _note(db: sqlite3.Connection, page: dict[str, tuple[int, datetime]]) -> None:
    noted = ((number, line, (time - _EPOCH) // _MICROSECOND) for number, (line, time) in page.items())
    db.executemany(_NOTE, noted)
    page.clear()


def mark_published(database: Path) -> None:
    """Note that everything in the file stands in the topics; a later run needn't read it again."""
    with closing(connect(database)) as db:
        db.execute("UPDATE file SET published = 1")


def last_lines(database: Path) -> Iterator[tuple[int, str]]:
    """Yield (last line, invoice), in the order of the lines."""
    line = 0
    with closing(connect(database)) as db:
        while page := db.execute(
            "SELECT last_line, number FROM invoices WHERE last_line > ? ORDER BY last_line LIMIT ?",
            (line, _PAGE),
        ).fetchall():
            yield from page
            line = page[-1][0]
