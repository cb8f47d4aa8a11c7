"""Events that wait in the file of their topic until their checkpoint is decided.

The functions run on the writer's thread, inside its transaction, as those of ``statements`` do.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reactor.connectors.log import Entry
from reactor.connectors.sqlite import statements
from reactor.core import Fenced, TopicFull

if TYPE_CHECKING:
    from reactor.connectors.sqlite.log import FileUser

# Made by the first who recovers: files without transactions stay as they are, older versions can use them all.
# A staged event's place is its stager's number * 2^40 + its number among what that one has staged.
_TABLES = """
CREATE TABLE IF NOT EXISTS stagers (
    stager INTEGER PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    topic INTEGER NOT NULL REFERENCES topics,
    fence INTEGER NOT NULL,
    run TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS staged (
    place INTEGER PRIMARY KEY,
    id TEXT,
    type TEXT NOT NULL,
    key TEXT,
    headers TEXT,
    time INTEGER NOT NULL,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS staged_by_id ON staged (place >> 40, id) WHERE id IS NOT NULL;
CREATE TABLE IF NOT EXISTS prepared (
    stager INTEGER NOT NULL REFERENCES stagers,
    number INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (stager, number)
) WITHOUT ROWID
"""
# An id that is staged twice stands there once: the first one counts, as it does in the topic.
_INSERT = "INSERT OR IGNORE INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM staged WHERE place >= ? AND place < ?"
_MOVE = """
INSERT INTO events (place, id, type, key, headers, time, data, crc)
SELECT ? - 1 + row_number() OVER (ORDER BY place), id, type, key, headers, time, data, crc
FROM staged AS s
WHERE place >= ? AND place < ? AND (id IS NULL OR NOT EXISTS (
    SELECT 1 FROM events AS e WHERE e.place >> 40 = ? AND e.id = s.id AND e.id IS NOT NULL))
ORDER BY place
"""


def recover(
    db: sqlite3.Connection, topic: str, owner: str, decided: int, fence: int, run: str
) -> tuple[int, str | None]:
    """Return the owner's number, and the topic that has grown, if one has."""
    for statement in _TABLES.split(";\n"):
        db.execute(statement)
    number = statements.number_for(db, topic)
    known = db.execute(
        "SELECT stager, fence, name FROM stagers JOIN topics USING (topic) WHERE owner = ?", (owner,)
    ).fetchone()
    if known is None:
        made = db.execute(
            "INSERT INTO stagers (owner, topic, fence, run) VALUES (?, ?, ?, ?)", (owner, number, fence, run)
        ).lastrowid
        assert made is not None
        return made, None
    stager = int(known[0])
    if fence < known[1]:
        raise fenced(owner)
    grown = publish(db, stager, decided)
    db.execute(_DELETE, (stager << 40, (stager + 1) << 40))
    db.execute("DELETE FROM prepared WHERE stager = ?", (stager,))
    db.execute(
        "UPDATE stagers SET topic = ?, fence = ?, run = ? WHERE stager = ?", (number, fence, run, stager)
    )
    return stager, str(known[2]) if grown else None


def fenced(owner: str) -> Fenced:
    return Fenced(
        f"{owner}: another process has taken over; what this one did since its last checkpoint is void"
    )


def check(db: sqlite3.Connection, stager: int, owner: str, run: str) -> None:
    """Raise Fenced where somebody else has recovered since."""
    if db.execute("SELECT run FROM stagers WHERE stager = ?", (stager,)).fetchone() != (run,):
        raise fenced(owner)


def stage(db: sqlite3.Connection, stager: int, at: int, entries: Sequence[Entry]) -> None:
    """Put the entries there from ``at`` on, in place of what stands there."""
    place = (stager << 40) + at
    db.execute(_DELETE, (place, (stager + 1) << 40))
    if at + len(entries) > 1 << 40:
        raise TopicFull("this run has staged 2^40 events: start it again")
    rows: list[tuple[Any, ...]] = []
    last: Any = None
    packed: str | None = None
    checksum = statements.summing()
    for id, type, key, headers, time, data in entries:
        if headers is not last:
            last, packed = headers, json.dumps(headers) if headers else None
        rows.append((place, id, type, key, packed, time, data, checksum(type, key, packed, time, data)))
        place += 1
    db.executemany(_INSERT, rows)


def prepare(db: sqlite3.Connection, stager: int, number: int, end: int) -> None:
    """Note that what is staged up to ``end`` belongs to the number."""
    db.execute("INSERT OR REPLACE INTO prepared VALUES (?, ?, ?)", (stager, number, end))


def publish(db: sqlite3.Connection, stager: int, number: int) -> bool:
    """Move the events up to the number to the end of their topic; tell whether it has grown."""
    found = db.execute(
        "SELECT topic, stop FROM prepared JOIN stagers USING (stager) WHERE stager = ? AND number <= ?"
        " ORDER BY number DESC LIMIT 1",
        (stager, number),
    ).fetchone()
    if found is None:
        return False
    topic, stop = found
    first = stager << 40
    base = topic << 40
    place = base + statements.length(db, topic)
    grown = db.execute(_MOVE, (place, first, first + stop, topic)).rowcount
    if grown:
        statements.cover(db, base, place + grown)
    db.execute(_DELETE, (first, first + stop))
    db.execute("DELETE FROM prepared WHERE stager = ? AND number <= ?", (stager, number))
    return grown > 0


class SqliteStaging:
    """What one owner has staged in the file, since it has recovered for this topic."""

    def __init__(self, user: FileUser, topic: str, owner: str) -> None:
        self._user = user
        self._topic = topic
        self._owner = owner
        self._run = uuid.uuid4().hex
        self._stager = 0

    async def recover(self, decided: int, fence: int) -> None:
        """Become the one who stages for the owner."""
        file = self._user._running

        def work(db: sqlite3.Connection) -> int:
            stager, grown = recover(db, self._topic, self._owner, decided, fence, self._run)
            if grown is not None:
                file.touched.add(grown)
            return stager

        self._stager = await file.writer.call(work)

    async def stage(self, at: int, rows: Sequence[Entry]) -> None:
        def work(db: sqlite3.Connection) -> None:
            check(db, self._stager, self._owner, self._run)
            stage(db, self._stager, at, rows)

        await self._user._running.writer.call(work)

    async def prepare(self, number: int, at: int, rows: Sequence[Entry]) -> None:
        def work(db: sqlite3.Connection) -> None:
            check(db, self._stager, self._owner, self._run)
            stage(db, self._stager, at, rows)
            prepare(db, self._stager, number, at + len(rows))

        await self._user._running.writer.call(work)

    async def publish(self, number: int) -> None:
        file = self._user._running

        def work(db: sqlite3.Connection) -> None:
            check(db, self._stager, self._owner, self._run)
            if publish(db, self._stager, number):
                file.sweep(db)
                file.touched.add(self._topic)

        await file.writer.call(work)
