"""The store's SQL in PostgreSQL. Every function runs on a worker's thread; what writes does so in a turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reactor.connectors.log import Entry, Start
from reactor.core import ArgumentError, TopicCorrupt
from reactor.eventstore.events import (
    Appended,
    Category,
    Expected,
    Found,
    Page,
    Target,
    category_of,
    decide,
)
from reactor.eventstore.postgres_schema import Db

# The lock is taken before the first look and let go by the commit, when all of the transaction can be seen. So
# positions become visible in their order: numbers from a sequence, or taken without waiting for the writer
# before, could be committed later than higher ones, and a reader who has seen the higher ones would never look
# back. The lock keeps other writers out and no reader, and unlike an advisory lock it can't be anybody else's.
# READ COMMITTED, whatever the default: what the writer before has written must be seen.
TURN = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; LOCK TABLE writers IN EXCLUSIVE MODE"

BYTES = 1 << 22
"""A page ends before its limit where its events are this long together."""

_STATE = """
SELECT s.stream, s.next, (SELECT coalesce(max(position) + 1, 0) FROM events),
    (SELECT json_object_agg(e.id, e.version) FROM events e
        WHERE e.stream = s.stream AND e.id = ANY(%(ids)s::text[]))
FROM (VALUES (1)) AS one LEFT JOIN streams s ON s.name = %(name)s
"""
_INSERT = """
WITH its AS (
    INSERT INTO streams (name, next) VALUES (%(name)s, %(end)s)
    ON CONFLICT (name) DO UPDATE SET next = excluded.next RETURNING stream
)
INSERT INTO events (position, stream, version, category, id, type, key, headers, time, data)
SELECT %(position)s + n - 1, stream, %(version)s + n - 1, %(category)s, id, type, key, headers, time, data
FROM its, unnest(%(ids)s::text[], %(types)s::text[], %(keys)s::text[], %(headers)s::text[], %(times)s::bigint[],
    %(data)b::bytea[]) WITH ORDINALITY AS new (id, type, key, headers, time, data, n)
"""

# The events of a page are chosen first, then as many as aren't too long together, then their streams' names.
_PAGE = """
SELECT s.name, p.version, p.position, p.id, p.type, p.key, p.headers, p.time, p.data
FROM (
    SELECT e.*, sum(octet_length(e.data)) OVER (ORDER BY e.position {order}) - octet_length(e.data) AS before
    FROM (SELECT * FROM events WHERE {where} ORDER BY {by} {order} LIMIT %(limit)s) AS e
) AS p
JOIN streams s USING (stream)
WHERE p.before < {bytes}
ORDER BY p.position {order}
"""


def _pages(where: str, by: str) -> tuple[bytes, bytes]:
    """Return the query forwards and backwards. A stream's versions and positions have the same order."""
    return (
        _PAGE.format(where=f"{where} AND {by} >= %(start)s", by=by, order="", bytes=BYTES).encode(),
        _PAGE.format(where=f"{where} AND {by} <= %(start)s", by=by, order="DESC", bytes=BYTES).encode(),
    )


_OF_STREAM = _pages("stream = (SELECT stream FROM streams WHERE name = %(name)s)", "version")
_OF_ALL = _pages("true", "position")
_OF_CATEGORY = _pages("category = %(name)s", "position")


def append(db: Db, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
    """Store the events, or raise before anything is written."""
    ids = [str(entry[0]) for entry in entries]
    # Not prepared: a plan made for a few ids looks at each of the stream's events for each of many.
    row = db.execute(_STATE, {"ids": ids, "name": stream}, prepare=False).fetchone()
    assert row is not None
    number, version, position, known = row[0], row[1] or 0, row[2], row[3] or {}
    repeated = decide(stream, ids, known, version - 1, expected)
    if repeated is not None:
        found = db.execute(
            "SELECT position FROM events WHERE stream = %s AND version = %s", (number, repeated)
        ).fetchone()
        assert found is not None
        return Appended(repeated, int(found[0]), repeated=True)
    if not entries:
        return Appended(version - 1, None)
    end = version + len(entries)
    db.execute(
        _INSERT,
        {
            "name": stream,
            "end": end,
            "position": position,
            "version": version,
            "category": category_of(stream),
            "ids": ids,
            "types": [entry[1] for entry in entries],
            "keys": [entry[2] for entry in entries],
            "headers": [json.dumps(dict(entry[3])) if entry[3] else None for entry in entries],
            "times": [entry[4] for entry in entries],
            "data": [entry[5] for entry in entries],
        },
    )
    return Appended(end - 1, position + len(entries) - 1)


def end(db: Db, target: Target) -> int:
    """Return the next version of a stream, or the next position of all."""
    if isinstance(target, str):
        row = db.execute("SELECT next FROM streams WHERE name = %s", (target,)).fetchone()
    else:
        row = db.execute("SELECT max(position) + 1 FROM events").fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


def streams(db: Db) -> list[str]:
    """Return the names of the streams that have events."""
    return [str(name) for (name,) in db.execute("SELECT name FROM streams WHERE next > 0 ORDER BY name")]


def page(db: Db, shown: str, target: Target, start: int, limit: int, backwards: bool) -> Page:
    """Read on from a version or position."""
    # Looked at first: what is appended after this look is read the next time.
    last = end(db, target) - 1
    if backwards:
        start = min(start, last)
    if start < 0 or start > last:
        return Page([], -1 if backwards else max(start, last + 1))
    if isinstance(target, str):
        query, name = _OF_STREAM[backwards], target
    elif isinstance(target, Category):
        query, name = _OF_CATEGORY[backwards], target.name
    else:
        query, name = _OF_ALL[backwards], ""
    with db.cursor(binary=True) as cursor:
        # Not prepared: a plan made for any limit may be a bad one for a page.
        cursor.execute(query, {"name": name, "start": start, "limit": limit}, prepare=False)
        found = [
            Found(stream, version, position, id, type, key, headers and json.loads(headers), time, data)
            for stream, version, position, id, type, key, headers, time, data in cursor
        ]
    step = -1 if backwards else 1
    if not isinstance(target, Category):
        for at, event in enumerate(found):
            if event.at(target) != start + at * step:
                what = f"stream {target}: version" if isinstance(target, str) else "position"
                raise TopicCorrupt(
                    f"{shown}: {what} {start + at * step} is missing; restore the database from a backup"
                )
    if not found:
        return Page([], -1 if backwards else last + 1)
    return Page(found, found[-1].at(target) + step)


# Groups -----------------------------------------------------------------------------------------------------


def _group(target: Target, group: str) -> tuple[str, str, str]:
    if isinstance(target, str):
        return "stream", target, group
    return ("category", target.name, group) if isinstance(target, Category) else ("all", "", group)


def join(db: Db, shown: str, target: Target, group: str, start: Start) -> int:
    """Return the group's position; a new group is saved with its start."""
    last = end(db, target)
    key = _group(target, group)
    row = db.execute(
        "SELECT position FROM groups WHERE kind = %s AND target = %s AND name = %s", key
    ).fetchone()
    if row is None:
        first = start if isinstance(start, int) else 0 if start == "earliest" else last
        if first > last:
            raise ArgumentError(
                f"subscribe(group={group!r}, start={start}): {shown} has positions 0 to {last}"
            )
        db.execute("INSERT INTO groups VALUES (%s, %s, %s, %s)", (*key, first))
        return first
    if row[0] > last:
        raise TopicCorrupt(
            f"{shown}: ends at {last}, but group {group} has read up to {row[0]}: events are lost; "
            "restore the database from a backup"
        )
    return int(row[0])


def commit(db: Db, target: Target, group: str, position: int) -> None:
    """Move a group on, never back."""
    db.execute(
        "INSERT INTO groups VALUES (%s, %s, %s, %s) ON CONFLICT (kind, target, name)"
        " DO UPDATE SET position = greatest(groups.position, excluded.position)",
        (*_group(target, group), position),
    )


# Snapshots and metadata -------------------------------------------------------------------------------------


def save_snapshot(db: Db, stream: str, name: str, version: int, data: bytes) -> None:
    """Keep it, in place of an earlier one of the same version."""
    db.execute(
        "INSERT INTO snapshots VALUES (%s, %s, %s, %b) ON CONFLICT (stream, name, version)"
        " DO UPDATE SET data = excluded.data",
        (stream, name, version, data),
    )


def snapshot(db: Db, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
    """Return the last one, or the last up to a version."""
    row = db.execute(
        "SELECT version, data FROM snapshots WHERE stream = %s AND name = %s"
        " AND version <= coalesce(%s::bigint, version) ORDER BY version DESC LIMIT 1",
        (stream, name, until),
    ).fetchone()
    return None if row is None else (int(row[0]), bytes(row[1]))


def set_metadata(db: Db, stream: str, data: bytes) -> bool:
    """Replace the stream's metadata; False where there is no stream."""
    changed = db.execute("UPDATE streams SET metadata = %b WHERE name = %s AND next > 0", (data, stream))
    return changed.rowcount > 0


def metadata(db: Db, stream: str) -> bytes | None:
    """Return the stream's metadata."""
    row: tuple[Any, ...] | None = db.execute(
        "SELECT metadata FROM streams WHERE name = %s", (stream,)
    ).fetchone()
    return None if row is None or row[0] is None else bytes(row[0])
