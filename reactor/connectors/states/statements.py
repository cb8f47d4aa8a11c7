"""The SQL. Every function runs on a thread of the file, those that write inside a transaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TypeVar
from zlib import crc32

import msgspec

from reactor.connectors.states.file import ANEW
from reactor.connectors.states.kept import LAST, Claimed, Cut, Part, checksum
from reactor.core import StateCorrupt

R = TypeVar("R")

# One row for the whole page, for the reason that SLICE tells: in it, hexadecimal digits, and lengths and sums.
_PAGE = """
SELECT coalesce(group_concat(hex(key) || hex(value), ''), ''),
    coalesce(group_concat(length(key) || ' ' || length(value) || ' ' || crc, ' '), '')
FROM (SELECT key, value, crc FROM reactor_states_rows WHERE part = ? AND key > ? ORDER BY key LIMIT ?)
"""
_FIRST = _PAGE.replace("key > ?", "key >= ?")
_LARGE = 4096
"""Where rows are this large on average, they are fetched one by one."""

_TALLY = """
SELECT count(*), coalesce(sum(length(key) + length(value)), 0), coalesce(sum(crc), 0)
FROM reactor_states_rows WHERE part = ?
"""


def claimed(db: sqlite3.Connection, path: str, pipeline: str) -> Claimed | None:
    """Return who owns the pipeline, or did last."""
    row = db.execute("SELECT body, crc FROM reactor_states_owners WHERE pipeline = ?", (pipeline,)).fetchone()
    if row is None:
        return None
    return _decoded(row, Claimed, f"{path}: pipeline {pipeline}: who owns it", ANEW)


def put_claimed(db: sqlite3.Connection, pipeline: str, claimed: Claimed) -> None:
    db.execute(
        "INSERT OR REPLACE INTO reactor_states_owners VALUES (?, ?, ?)", (pipeline, *_encoded(claimed))
    )


def cut(db: sqlite3.Connection, path: str, pipeline: str, name: str = LAST) -> Cut | None:
    """Return a checkpoint; raise StateCorrupt where one is damaged or gone."""
    row = db.execute(
        "SELECT body, crc FROM reactor_states_cuts WHERE pipeline = ? AND name = ?", (pipeline, name)
    ).fetchone()
    if name == LAST:
        owned = claimed(db, path, pipeline)
        if (row is not None) != (owned is not None and owned.saved):
            raise StateCorrupt(
                f"{path}: the last checkpoint of pipeline {pipeline} is gone; {way_out(pipeline)}"
            )
    if row is None:
        return None
    which = "the last checkpoint" if name == LAST else f"the savepoint {name}"
    return _decoded(row, Cut, f"{path}: {which} of pipeline {pipeline}", way_out(pipeline))


def cuts(db: sqlite3.Connection, path: str, pipeline: str | None) -> list[tuple[str, str, Cut]]:
    """Return all savepoints, with their pipelines and names."""
    where, values = ("", ()) if pipeline is None else (" AND pipeline = ?", (pipeline,))
    rows = db.execute(
        f"SELECT pipeline, name, body, crc FROM reactor_states_cuts WHERE name <> ''{where}", values
    ).fetchall()
    return [
        (of, name, _decoded((body, crc), Cut, f"{path}: the savepoint {name} of pipeline {of}", "delete it"))
        for of, name, body, crc in rows
    ]


def names(db: sqlite3.Connection, pipeline: str) -> list[str]:
    """Return the names of a pipeline's savepoints."""
    rows = db.execute(
        "SELECT name FROM reactor_states_cuts WHERE pipeline = ? AND name <> '' ORDER BY name", (pipeline,)
    ).fetchall()
    return [name for (name,) in rows]


def pipelines(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT DISTINCT pipeline FROM reactor_states_cuts ORDER BY pipeline").fetchall()
    return [pipeline for (pipeline,) in rows]


def put_cut(db: sqlite3.Connection, pipeline: str, name: str, cut: Cut) -> None:
    db.execute(
        "INSERT OR REPLACE INTO reactor_states_cuts VALUES (?, ?, ?, ?)", (pipeline, name, *_encoded(cut))
    )


def drop_cut(db: sqlite3.Connection, path: str, pipeline: str, name: str = LAST) -> None:
    """Delete a checkpoint with its rows; one that is damaged loses itself only, its rows are of no harm."""
    row = db.execute(
        "SELECT body, crc FROM reactor_states_cuts WHERE pipeline = ? AND name = ?", (pipeline, name)
    ).fetchone()
    if row is None:
        return
    try:
        parts = _decoded(row, Cut, "", "").parts
    except StateCorrupt:
        parts = {}
    for part in parts.values():
        drop(db, part)
    db.execute("DELETE FROM reactor_states_cuts WHERE pipeline = ? AND name = ?", (pipeline, name))


def new_part(db: sqlite3.Connection) -> int:
    """Return the number of one without rows."""
    db.execute("UPDATE reactor_states SET parts = parts + 1")
    (part,) = db.execute("SELECT parts FROM reactor_states").fetchone()
    return int(part)


def drop(db: sqlite3.Connection, part: Part) -> None:
    """Delete its rows."""
    db.execute("DELETE FROM reactor_states_rows WHERE part = ?", (part.part,))


def copy(db: sqlite3.Connection, path: str, pipeline: str, cut: Cut) -> dict[str, Part]:
    """Copy a checkpoint's rows; raise StateCorrupt where some are lost."""
    copied: dict[str, Part] = {}
    for operator, part in cut.parts.items():
        tally = Part(part.part, *db.execute(_TALLY, (part.part,)).fetchone())
        if tally != part:
            raise lost(path, pipeline, operator)
        new = new_part(db)
        db.execute(
            "INSERT INTO reactor_states_rows SELECT ?, key, value, crc FROM reactor_states_rows WHERE part = ?",
            (new, part.part),
        )
        copied[operator] = Part(new, part.rows, part.size, part.sum)
    return copied


def page(
    db: sqlite3.Connection,
    path: str,
    pipeline: str,
    operator: str,
    part: Part,
    after: bytes | None,
    limit: int,
) -> list[tuple[bytes, bytes, int]]:
    """Return rows with their sums; raise StateCorrupt for one that isn't what was written."""
    if part.size > _LARGE * part.rows:
        of = "key >= x''" if after is None else "key > ?"
        values = (part.part, limit) if after is None else (part.part, after, limit)
        with closing(
            db.execute(
                f"SELECT key, value, crc FROM reactor_states_rows WHERE part = ? AND {of} ORDER BY key LIMIT ?",
                values,
            )
        ) as found:
            rows = found.fetchall()
    else:
        sql, first = (_FIRST, b"") if after is None else (_PAGE, after)
        digits, numbers = db.execute(sql, (part.part, first, limit)).fetchone()
        rows = _cut_up(digits, numbers)
    last = after
    for key, value, sum in rows:
        if (
            not isinstance(key, bytes)
            or not isinstance(value, bytes)
            or (last is not None and key <= last)
            or checksum(key, value) != sum
        ):
            raise StateCorrupt(
                f"{path}: the last checkpoint of pipeline {pipeline}: a row of {operator} isn't what was "
                f"written (checksum); {way_out(pipeline)}"
            )
        last = key
    return rows


def _cut_up(digits: str, numbers: str) -> list[tuple[bytes, bytes, int]]:
    rows: list[tuple[bytes, bytes, int]] = []
    whole = bytes.fromhex(digits)
    at = 0
    each = iter(map(int, numbers.split()))
    for key, value, sum in zip(each, each, each, strict=True):
        middle = at + key
        rows.append((whole[at:middle], whole[middle : middle + value], sum))
        at = middle + value
    return rows


def lost(path: str, pipeline: str, operator: str) -> StateCorrupt:
    return StateCorrupt(
        f"{path}: pipeline {pipeline}: the rows of {operator} aren't those that were written, some are lost; "
        f"{way_out(pipeline)}"
    )


def way_out(pipeline: str) -> str:
    """What to do about a damaged checkpoint."""
    return (
        f"restore a savepoint (python -m reactor checkpoints restore URL {pipeline} NAME), or let the pipeline "
        f"begin anew (reset URL {pipeline})"
    )


def _encoded(what: Claimed | Cut) -> tuple[str, int]:
    body = msgspec.json.encode(what)
    return body.decode(), crc32(body)


def _decoded(row: tuple[object, object], kind: type[R], what: str, fix: str) -> R:
    body, crc = row
    if isinstance(body, str) and crc32(body.encode()) == crc:
        return msgspec.json.decode(body, type=kind)
    raise StateCorrupt(f"{what} isn't what was written (checksum); {fix}")
