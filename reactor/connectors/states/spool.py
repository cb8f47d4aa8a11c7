"""New rows on their way into the file: first into a table of the connection's own, where they lock nobody out.

Only then, in one transaction and without a word of Python, do they take the place of the old ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from reactor.connectors.states import statements
from reactor.connectors.states.kept import Part, checksum
from reactor.core import Cancelled
from reactor.delivery import Change, Pair

SLICE = 1000
"""Rows in one statement. SQLite lets go of the GIL at each step, and a busy event loop gives it back after 5 ms:
a statement for each row would take 5 ms for each."""

_RUN = 10 * SLICE
_BYTES = 1 << 22
_key = itemgetter(0)
_SIZES = (1000, 100, 10, 1)

_INSERTS = {
    (table, size): f"INSERT OR REPLACE INTO temp.{table} VALUES {', '.join(['(?, ?, ?, ?)'] * size)}"
    for table in ("reactor_heap", "reactor_spool")
    for size in _SIZES
}
_SORT = """
INSERT OR REPLACE INTO temp.reactor_spool
SELECT slot, key, value, crc FROM temp.reactor_heap ORDER BY slot, key, rowid
"""
_REPLACED = """
SELECT count(*), coalesce(sum(length(old.key) + length(old.value)), 0), coalesce(sum(old.crc), 0)
FROM temp.reactor_spool AS new CROSS JOIN reactor_states_rows AS old ON old.part = ? AND old.key = new.key
WHERE new.slot = ?
"""
_ADDED = """
SELECT count(*), coalesce(sum(length(key) + length(value)), 0), coalesce(sum(crc), 0)
FROM temp.reactor_spool WHERE slot = ? AND value IS NOT NULL
"""
_DELETE = """
DELETE FROM reactor_states_rows
WHERE part = ? AND key IN (SELECT key FROM temp.reactor_spool WHERE slot = ? AND value IS NULL)
"""
_MOVE = """
INSERT OR REPLACE INTO reactor_states_rows
SELECT ?, key, value, crc FROM temp.reactor_spool WHERE slot = ? AND value IS NOT NULL
"""


Slots = dict[str, tuple[int, bool]]
"""Where an operator's new rows stand in the spool, and whether they are all that it has."""


class Given(Exception):
    """An exception that the rows of a change have raised, on its way out."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def fill(db: sqlite3.Connection, changes: Sequence[Change], given_up: Callable[[], bool]) -> Slots:
    """Write the rows of all changes into the spool; return where those of each operator stand."""
    slots: Slots = {}
    empty(db)
    for change in changes:
        slot, complete = slots.get(change.operator, (len(slots), False))
        if change.complete:
            db.execute("DELETE FROM temp.reactor_spool WHERE slot = ?", (slot,))
        slots[change.operator] = (slot, complete or change.complete)
        _fill(db, slot, change.rows, given_up)
    return slots


def _fill(db: sqlite3.Connection, slot: int, rows: Iterable[Pair], given_up: Callable[[], bool]) -> None:
    try:
        given = iter(rows)
    except BaseException as error:
        raise Given(error) from None
    run, ended = _run(given)
    if ended:
        run.sort(key=_key)
        _insert(db, "reactor_spool", slot, run)
        return
    # Too many to be sorted at once here, where other threads wait for it: SQLite sorts them.
    while run:
        if given_up():
            raise Given(Cancelled("the save was cancelled"))
        _insert(db, "reactor_heap", slot, run)
        run, _ = _run(given)
    db.execute(_SORT)
    db.execute("DELETE FROM temp.reactor_heap")


def _run(given: Iterator[Pair]) -> tuple[list[Pair], bool]:
    """Take rows, not too many; also return whether there are no more."""
    run: list[Pair] = []
    size = 0
    try:
        while len(run) < _RUN and size < _BYTES:
            more = list(islice(given, SLICE))
            if not more:
                return run, True
            run += more
            size += sum(len(value) for _, value in more if value is not None)
    except BaseException as error:
        raise Given(error) from None
    return run, False


def _insert(db: sqlite3.Connection, table: str, slot: int, run: list[Pair]) -> None:
    at = 0
    for step in _SIZES:
        while len(run) - at >= step:
            values: list[Any] = []
            for key, value in run[at : at + step]:
                values += (slot, key, value, 0 if value is None else checksum(key, value))
            db.execute(_INSERTS[table, step], values)
            at += step


def tallied(
    db: sqlite3.Connection, before: Mapping[str, Part], operators: Iterable[str], slots: Slots
) -> dict[str, Part]:
    """Return the parts as they will be, by operator; one that is to be new has no number yet."""
    return {operator: _tally(db, before.get(operator), slots.get(operator)) for operator in operators}


def _tally(db: sqlite3.Connection, part: Part | None, given: tuple[int, bool] | None) -> Part:
    if given is None:
        return part or Part(0)
    slot, complete = given
    if part is None or complete:
        return Part(0, *db.execute(_ADDED, (slot,)).fetchone())
    less = db.execute(_REPLACED, (part.part, slot)).fetchone()
    more = db.execute(_ADDED, (slot,)).fetchone()
    return Part(
        part.part,
        part.rows - less[0] + more[0],
        part.size - less[1] + more[1],
        part.sum - less[2] + more[2],
    )


def moved(
    db: sqlite3.Connection, before: Mapping[str, Part], after: Mapping[str, Part], slots: Slots
) -> dict[str, Part]:
    """Change the rows to what was tallied; return the parts, all with their numbers. Inside a transaction."""
    for operator, part in before.items():
        if operator not in after or after[operator].part != part.part:
            statements.drop(db, part)
    parts: dict[str, Part] = {}
    for operator, part in after.items():
        number = part.part or statements.new_part(db)
        parts[operator] = Part(number, part.rows, part.size, part.sum)
        if operator in slots:
            slot, _ = slots[operator]
            if part.part:
                db.execute(_DELETE, (number, slot))
            db.execute(_MOVE, (number, slot))
    return parts


def empty(db: sqlite3.Connection) -> None:
    """Let go of what was spooled."""
    db.execute("DELETE FROM temp.reactor_spool")
    db.execute("DELETE FROM temp.reactor_heap")
