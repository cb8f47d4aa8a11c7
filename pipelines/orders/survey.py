"""The first look at the orders file: which file it is, and where each invoice ends.

The rows of an invoice needn't stand together, and an invoice that is split in two is charged wrongly. No
silence, however long, says that an invoice is complete; so the file is read twice. The first time notes each
invoice's last line, in a table on disk: what the second time has to hold is the rows of the invoices that are
open at that line, whatever the order of the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pipelines.orders.rows import BadFile, Row, check, fingerprint, records

_PAGE = 5000
_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    path TEXT NOT NULL, digest TEXT NOT NULL, rows INTEGER NOT NULL, broken INTEGER NOT NULL,
    invoices INTEGER NOT NULL, amount TEXT NOT NULL, published INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS invoices (number TEXT PRIMARY KEY, last_line INTEGER NOT NULL) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS by_last_line ON invoices (last_line);
"""


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
            "SELECT path, digest, rows, broken, invoices, amount, published FROM file"
        ).fetchone()
    if row is None:
        return None
    path, digest, rows, broken, invoices, amount, published = row
    return Survey(path, digest, rows, broken, invoices, Decimal(amount), bool(published))


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
    last_lines: dict[str, int] = {}
    rows = broken = 0
    amount = Decimal(0)
    with closing(connect(database)) as db:
        db.execute("BEGIN IMMEDIATE")
        for row in map(check, records(path)):
            rows += 1
            if isinstance(row, Row):
                if row.invoice not in last_lines and len(last_lines) >= _PAGE:
                    _note(db, last_lines)
                last_lines[row.invoice] = row.line
                amount += row.item.amount
            else:
                broken += 1
        _note(db, last_lines)
        (invoices,) = db.execute("SELECT count(*) FROM invoices").fetchone()
        db.execute(
            "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, 0)",
            (str(path), digest, rows, broken, invoices, str(amount)),
        )
        db.execute("COMMIT")
    return Survey(str(path), digest, rows, broken, invoices, amount, published=False)


def _note(db: sqlite3.Connection, last_lines: dict[str, int]) -> None:
    db.executemany("INSERT OR REPLACE INTO invoices VALUES (?, ?)", last_lines.items())
    last_lines.clear()


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
