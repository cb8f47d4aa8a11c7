"""The log's SQL. Every function runs on a worker's thread; those that write, inside its transaction."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from reactor.connectors.log import Entry, Row, Start
from reactor.core import ArgumentError, TopicCorrupt, TopicFull

BYTES = 1 << 22
"""A fetch ends before its limit where its events are this long together."""

TOPICS = 1 << 23
"""A place has 63 bits, 40 of them for the position."""

_SELECT = (
    "SELECT place, type, key, headers, time, data, crc FROM events"
    " WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
)
_INSERT = (
    "INSERT INTO events (place, id, type, key, headers, time, data, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_KNOWN = (
    "SELECT id, place FROM events"
    " WHERE place >> 40 = ? AND id IN (SELECT value FROM json_each(?)) AND id IS NOT NULL"
)


def number_of(db: sqlite3.Connection, topic: str) -> int | None:
    """Return the topic's number, None where nobody has written to it yet."""
    row = db.execute("SELECT topic FROM topics WHERE name = ?", (topic,)).fetchone()
    return None if row is None else int(row[0])


def number_for(db: sqlite3.Connection, topic: str) -> int:
    """Return the topic's number, a new one where there is none."""
    number = number_of(db, topic)
    if number is None:
        number = db.execute("INSERT INTO topics (name) VALUES (?)", (topic,)).lastrowid
        assert number is not None
        if number >= TOPICS:
            raise TopicFull(f"topic {topic}: a file holds {TOPICS - 1} topics or streams; begin another file")
    return number


def length(db: sqlite3.Connection, number: int | None) -> int:
    """Return the next position; they begin at 0 and have no gaps."""
    if number is None:
        return 0
    first = number << 40
    (last,) = db.execute(
        "SELECT max(place) FROM events WHERE place >= ? AND place < ?", (first, first + (1 << 40))
    ).fetchone()
    return 0 if last is None else int(last) - first + 1


def summing() -> Callable[[str, str | None, str | None, int, bytes], int]:
    """Return what sums up rows: SQLite finds pages that it tore itself, but not a disk's mistakes.

    Rows after each other mostly have the same type and headers, whose part is remembered.
    """
    crc32 = zlib.crc32
    last: tuple[str, str | None] | None = None
    start = 0

    def checksum(type: str, key: str | None, headers: str | None, time: int, data: bytes) -> int:
        nonlocal last, start
        if last != (type, headers):
            last, start = (type, headers), crc32(f"{type}\0{headers}".encode())
        sum = start ^ time & 0xFFFFFFFF
        return crc32(data, sum if key is None else crc32(key.encode(), sum))

    return checksum


def append(db: sqlite3.Connection, number: int, entries: Sequence[Entry]) -> list[int]:
    """Store the entries that are new by their id; return the positions of all."""
    base = number << 40
    place = base + length(db, number)
    known: dict[str, int] = {}
    if given := [entry[0] for entry in entries if entry[0] is not None]:
        known = dict(db.execute(_KNOWN, (number, json.dumps(given))).fetchall())
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    last: Any = None
    packed: str | None = None
    checksum = summing()
    for id, type, key, headers, time, data in entries:
        if id is not None:
            at = known.setdefault(id, place)
            if at != place:
                positions.append(at - base)
                continue
        if headers is not last:
            last, packed = headers, json.dumps(headers) if headers else None
        rows.append((place, id, type, key, packed, time, data, checksum(type, key, packed, time, data)))
        positions.append(place - base)
        place += 1
    db.executemany(_INSERT, rows)
    if rows:
        cover(db, base, place)
    return positions


def cover(db: sqlite3.Connection, base: int, end: int) -> None:
    """Give the topic's events before the place ``end`` that have none yet their positions among all of the file.

    Writers take turns, so there are no holes, and what a reader sees is all that will ever stand before it.
    """
    row = db.execute(
        "SELECT place + count FROM spans WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1",
        (base, end),
    ).fetchone()
    first = base if row is None else int(row[0])
    last = db.execute("SELECT position, place, count FROM spans ORDER BY position DESC LIMIT 1").fetchone()
    if last is not None and last[1] + last[2] == first and row is not None:
        db.execute("UPDATE spans SET count = ? WHERE position = ?", (end - last[1], last[0]))
    else:
        position = 0 if last is None else last[0] + last[2]
        db.execute("INSERT INTO spans VALUES (?, ?, ?)", (position, first, end - first))


def fetch(db: sqlite3.Connection, path: str, topic: str, number: int, position: int, limit: int) -> list[Row]:
    """Return up to ``limit`` rows from ``position`` on; few where they are large, none at the end only.

    Raises TopicCorrupt for what isn't as it was written.
    """
    base = number << 40
    rows: list[Row] = []
    size = 0
    checksum = summing()
    packed: str | None = None
    unpacked: dict[str, str] | None = None  # rows after each other mostly have the same
    # Closed at once: as long as a statement is open, SQLite can't let its log in the -wal file begin anew.
    with closing(db.execute(_SELECT, (base + position, base + (1 << 40), limit))) as found:
        for place, type, key, headers, time, data, crc in found:
            if place != base + position:
                raise TopicCorrupt(
                    f"{path}: topic {topic}: position {position} is missing, {place - base} is there"
                )
            if not isinstance(data, bytes) or checksum(type, key, headers, time, data) != crc:
                raise TopicCorrupt(
                    f"{path}: topic {topic}: position {position} isn't what was written (checksum)"
                )
            if headers != packed:
                packed, unpacked = headers, None if headers is None else json.loads(headers)
            rows.append((position, type, key, unpacked, time, data))
            position += 1
            size += len(data)
            if size > BYTES:
                break
    return rows


def groups(db: sqlite3.Connection, topic: str) -> dict[str, int]:
    """Return the positions of the topic's groups."""
    return dict(
        db.execute(
            "SELECT g.name, g.position FROM groups g JOIN topics USING (topic) WHERE topics.name = ?",
            (topic,),
        ).fetchall()
    )


def join(db: sqlite3.Connection, path: str, topic: str, group: str, start: Start) -> int:
    """Return the group's position; a new group is saved with its start."""
    number = number_for(db, topic)
    end = length(db, number)
    row = db.execute("SELECT position FROM groups WHERE topic = ? AND name = ?", (number, group)).fetchone()
    if row is None:
        first = start if isinstance(start, int) else 0 if start == "earliest" else end
        if first > end:
            raise ArgumentError(f"subscribe({group!r}, start={start}): {topic} has positions 0 to {end}")
        db.execute("INSERT INTO groups VALUES (?, ?, ?)", (number, group, first))
        return first
    position = int(row[0])
    if position > end:
        raise TopicCorrupt(
            f"{path}: topic {topic} ends at {end}, but group {group} has read up to {position}: "
            "events are lost; restore the file from a backup, or reset the group"
        )
    return position


def commit(db: sqlite3.Connection, topic: str, group: str, position: int) -> None:
    """Move the group on, never back."""
    db.execute(
        "INSERT INTO groups VALUES (?, ?, ?) ON CONFLICT (topic, name)"
        " DO UPDATE SET position = max(position, excluded.position)",
        (number_for(db, topic), group, position),
    )


def reset(db: sqlite3.Connection, topic: str, group: str, position: int) -> None:
    """Move the group to where it is told."""
    number = number_for(db, topic)
    end = length(db, number)
    if not 0 <= position <= end:
        raise ArgumentError(f"reset({group!r}, {position}): {topic} has positions 0 to {end}")
    db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", (number, group, position))
