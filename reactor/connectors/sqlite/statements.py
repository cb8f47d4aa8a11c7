"""The log's SQL. Every function runs on a worker's thread; those that write, inside its transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from reactor.connectors.log import Entry, Row, Start
from reactor.core import ArgumentError, TopicCorrupt

_SELECT = (
    "SELECT version, type, key, headers, time, data, crc FROM events"
    " WHERE stream = ? AND version >= ? ORDER BY version LIMIT ?"
)
_INSERT = (
    "INSERT INTO events (stream, version, id, type, key, headers, time, data, crc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def stream_of(db: sqlite3.Connection, topic: str) -> int | None:
    """Return the topic's number, None where nobody has written to it yet."""
    row = db.execute("SELECT stream FROM topics WHERE name = ?", (topic,)).fetchone()
    return None if row is None else int(row[0])


def make_stream(db: sqlite3.Connection, topic: str) -> int:
    """Return the topic's number, a new one where there is none."""
    stream = stream_of(db, topic)
    if stream is None:
        stream = db.execute("INSERT INTO topics (name) VALUES (?)", (topic,)).lastrowid
        assert stream is not None
    return stream


def length(db: sqlite3.Connection, stream: int | None) -> int:
    """Return the next position; they begin at 0 and have no gaps."""
    (last,) = db.execute("SELECT max(version) FROM events WHERE stream = ?", (stream,)).fetchone()
    return 0 if last is None else int(last) + 1


def _uuids() -> Iterator[str]:
    """UUIDs of version 7: those of one batch count up, so that their index grows at its end only."""
    stamp = time.time_ns() // 1_000_000
    bits = secrets.randbits(72)
    low = bits & 0x3FFFFFFFFFFFFFF  # 58 random bits, so that counting never reaches the variant's bits
    stamped = f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7{bits >> 60:03x}"
    variant = 0x8000000000000000
    while True:
        tail = f"{variant | low:016x}"
        yield f"{stamped}-{tail[:4]}-{tail[4:]}"
        low += 1


def append(db: sqlite3.Connection, stream: int, entries: Sequence[Entry]) -> list[int]:
    """Store the entries that are new by their id; return the positions of all."""
    first = length(db, stream)
    given = [entry.id for entry in entries if entry.id is not None]
    known: dict[str, int] = {}
    if given:
        known = dict(
            db.execute(
                "SELECT id, version FROM events WHERE stream = ? AND id IN (SELECT value FROM json_each(?))",
                (stream, json.dumps(given)),
            )
        )
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    version = first
    crc32, uuids = zlib.crc32, _uuids()
    for id, type, key, headers, when, data in entries:
        if id is None:
            id = next(uuids)
        elif given:
            at = known.setdefault(id, version)
            if at != version:
                positions.append(at)
                continue
        packed = json.dumps(dict(headers)) if headers else None
        crc = crc32(data, crc32(f"{type}\0{key}\0{packed}".encode()))
        rows.append((stream, version, id, type, key, packed, when, data, crc))
        positions.append(version)
        version += 1
    db.executemany(_INSERT, rows)
    return positions


def fetch(db: sqlite3.Connection, path: str, topic: str, stream: int, position: int, limit: int) -> list[Row]:
    """Return up to ``limit`` rows from ``position`` on; TopicCorrupt for what isn't as it was written."""
    rows: list[Row] = []
    crc32 = zlib.crc32
    for version, type, key, headers, when, data, crc in db.execute(_SELECT, (stream, position, limit)):
        if version != position:
            raise TopicCorrupt(f"{path}: topic {topic}: position {position} is missing, {version} is there")
        if crc32(data, crc32(f"{type}\0{key}\0{headers}".encode())) != crc:
            raise TopicCorrupt(
                f"{path}: topic {topic}: position {position} isn't what was written (checksum)"
            )
        rows.append((version, type, key, None if headers is None else json.loads(headers), when, data))
        position += 1
    return rows


def groups(db: sqlite3.Connection, topic: str) -> dict[str, int]:
    """Return the positions of the topic's groups."""
    return dict(
        db.execute(
            "SELECT g.name, g.position FROM groups g JOIN topics USING (stream) WHERE topics.name = ?",
            (topic,),
        )
    )


def join(db: sqlite3.Connection, path: str, topic: str, group: str, start: Start) -> int:
    """Return the group's position; a new group is saved with its start."""
    stream = make_stream(db, topic)
    end = length(db, stream)
    first = start if isinstance(start, int) else 0 if start == "earliest" else end
    db.execute("INSERT OR IGNORE INTO groups VALUES (?, ?, ?)", (stream, group, first))
    (position,) = db.execute(
        "SELECT position FROM groups WHERE stream = ? AND name = ?", (stream, group)
    ).fetchone()
    if position > end and position != first:
        raise TopicCorrupt(
            f"{path}: topic {topic} ends at {end}, but group {group} has read up to {position}: "
            "events are lost"
        )
    return int(position)


def commit(db: sqlite3.Connection, topic: str, group: str, position: int) -> None:
    """Move the group on, never back."""
    db.execute(
        "INSERT INTO groups VALUES (?, ?, ?) ON CONFLICT (stream, name)"
        " DO UPDATE SET position = max(position, excluded.position)",
        (make_stream(db, topic), group, position),
    )


def reset(db: sqlite3.Connection, topic: str, group: str, position: int) -> None:
    """Move the group to where it is told."""
    stream = make_stream(db, topic)
    if not 0 <= position <= (end := length(db, stream)):
        raise ArgumentError(f"reset({group!r}, {position}): {topic} has positions 0 to {end}")
    db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", (stream, group, position))
