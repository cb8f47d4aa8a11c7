"""The store's SQL over the log's tables. Every function runs on a worker's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from reactor.connectors.log import Start
from reactor.connectors.sqlite import statements
from reactor.core import ArgumentError, TopicCorrupt
from reactor.eventstore.events import Category, Found, Page, Target

_POSITIONS = 1 << 40
_FIELDS = "e.id, e.type, e.key, e.headers, e.time, e.data, e.crc"
_POSITION = (
    "SELECT s.position + {place} - s.place FROM spans s WHERE s.place <= {place}"
    " ORDER BY s.place DESC LIMIT 1"
)
_STREAM = (
    f"SELECT ?, e.place, ({_POSITION.format(place='e.place')}), {_FIELDS} FROM events e"
    " WHERE e.place >= ? AND e.place <= ? ORDER BY e.place"
)
# CROSS JOIN: SQLite keeps the order of the tables, and so finds the rows in order without sorting them.
_EVERY = (
    f"SELECT t.name, e.place, s.position + e.place - s.place, {_FIELDS} FROM spans s"
    " CROSS JOIN topics t ON t.topic = s.place >> 40"
    " CROSS JOIN events e ON e.place >= s.place AND e.place < s.place + s.count"
)
_FORWARDS = (
    " WHERE s.position >= (SELECT coalesce(max(position), 0) FROM spans WHERE position <= :start)"
    " AND e.place >= s.place + max(0, :start - s.position)"
)
_BACKWARDS = " WHERE s.position <= :start AND e.place <= s.place + (:start - s.position)"
_CATEGORY = " AND (t.name = :category OR (t.name >= :category || '-' AND t.name < :category || '.'))"


def known(db: sqlite3.Connection, number: int | None, ids: Sequence[str]) -> dict[str, int]:
    """Return the versions of the ids that the stream has."""
    if number is None or not ids:
        return {}
    found = db.execute(
        "SELECT id, place & 0xFFFFFFFFFF FROM events"
        " WHERE place >> 40 = ? AND id IN (SELECT value FROM json_each(?)) AND id IS NOT NULL",
        (number, json.dumps(ids)),
    )
    return dict(found.fetchall())


def position_of(db: sqlite3.Connection, number: int, version: int) -> int:
    """Return the place of an event in the order of the whole file."""
    (position,) = db.execute(_POSITION.format(place=":place"), {"place": (number << 40) + version}).fetchone()
    return int(position)


def end(db: sqlite3.Connection, target: Target) -> int:
    """Return the next version of a stream, or the next position of all."""
    if isinstance(target, str):
        return statements.length(db, statements.number_of(db, target))
    row = db.execute("SELECT position + count FROM spans ORDER BY position DESC LIMIT 1").fetchone()
    return 0 if row is None else int(row[0])


def streams(db: sqlite3.Connection) -> list[str]:
    """Return the names of the streams that have events."""
    found = db.execute(
        "SELECT name FROM topics WHERE EXISTS"
        " (SELECT 1 FROM events WHERE place >= topic << 40 AND place < (topic + 1) << 40) ORDER BY name"
    )
    return [str(name) for (name,) in found]


def of_stream(
    db: sqlite3.Connection, path: str, stream: str, start: int, limit: int, backwards: bool
) -> Page:
    """Read one stream from a version on."""
    number = statements.number_of(db, stream)
    last = statements.length(db, number) - 1
    if number is None or (start < 0 if backwards else start > last):
        return Page([], -1 if backwards else max(start, last + 1))
    base = number << 40
    start = min(start, last)
    first = max(0, start - limit + 1) if backwards else start
    until = start if backwards else min(last, start + limit - 1)
    found = _checked(
        db,
        path,
        _STREAM + (" DESC" if backwards else ""),
        (stream, base + first, base + until),
    )
    step = -1 if backwards else 1
    wanted = range(start, start + step * max(1, len(found)), step)
    if [event.version for event in found] != list(wanted):
        there = {event.version for event in found}
        missing = next(version for version in wanted if version not in there)
        raise TopicCorrupt(
            f"{path}: stream {stream}: version {missing} is missing; restore the file from a backup"
        )
    return Page(found, found[-1].version + step)


def of_all(
    db: sqlite3.Connection, path: str, target: Target, start: int, limit: int, backwards: bool
) -> Page:
    """Read all streams, or a category, from a position on."""
    # Looked at first: what is appended after this look is read the next time.
    last = end(db, target) - 1
    query = _EVERY + (_BACKWARDS if backwards else _FORWARDS)
    values: dict[str, Any] = {"start": min(start, last) if backwards else start, "limit": limit}
    if isinstance(target, Category):
        query += _CATEGORY
        values["category"] = target.name
    order = " ORDER BY s.position DESC, e.place DESC" if backwards else " ORDER BY s.position, e.place"
    found = _checked(db, path, query + order + " LIMIT :limit", values)
    if backwards:
        return Page(found, found[-1].position - 1 if found else -1)
    return Page(found, found[-1].position + 1 if found else max(start, last + 1))


def _checked(db: sqlite3.Connection, path: str, query: str, values: Any) -> list[Found]:
    """Return the rows, as they were written; fewer where they are large."""
    found: list[Found] = []
    checksum = statements.summing()
    packed: str | None = None
    unpacked: dict[str, str] | None = None  # rows after each other mostly have the same
    size = 0
    with closing(db.execute(query, values)) as cursor:
        for stream, place, position, id, type, key, headers, time, data, crc in cursor:
            version = place & (_POSITIONS - 1)
            if not isinstance(data, bytes) or checksum(type, key, headers, time, data) != crc:
                raise TopicCorrupt(
                    f"{path}: stream {stream}: version {version} isn't what was written (checksum); "
                    "restore the file from a backup"
                )
            if headers != packed:
                packed, unpacked = headers, None if headers is None else json.loads(headers)
            found.append(Found(stream, version, position, id, type, key, unpacked, time, data))
            size += len(data)
            if size > statements.BYTES:
                break
    return found


def group_of(target: Target, group: str) -> str:
    """Return the name under which the position of a group over several streams is kept, with topic 0."""
    return f"{target.name}\0{group}" if isinstance(target, Category) else group


def join(db: sqlite3.Connection, path: str, name: str, group: str, start: Start) -> int:
    """Return the position of a group that reads all; a new group is saved with its start."""
    (last,) = db.execute("SELECT coalesce(max(position + count), 0) FROM spans").fetchone()
    row = db.execute("SELECT position FROM groups WHERE topic = 0 AND name = ?", (name,)).fetchone()
    if row is None:
        first = start if isinstance(start, int) else 0 if start == "earliest" else int(last)
        if first > last:
            raise ArgumentError(
                f"subscribe(group={group!r}, start={start}): {path} has positions 0 to {last}"
            )
        db.execute("INSERT INTO groups VALUES (0, ?, ?)", (name, first))
        return first
    if row[0] > last:
        raise TopicCorrupt(
            f"{path}: ends at {last}, but group {group} has read up to {row[0]}: events are lost; "
            "restore the file from a backup"
        )
    return int(row[0])


def commit(db: sqlite3.Connection, name: str, position: int) -> None:
    """Move a group that reads all on, never back."""
    db.execute(
        "INSERT INTO groups VALUES (0, ?, ?) ON CONFLICT (topic, name)"
        " DO UPDATE SET position = max(position, excluded.position)",
        (name, position),
    )
