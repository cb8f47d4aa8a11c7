"""The file: how it is made, opened and checked, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
import time

from reactor.core import TopicCorrupt, TopicError, TopicFull, TopicLocked

APPLICATION_ID = 0x72656163
"""Stands in the file's header ("reac"): a database of somebody else is never written to."""

VERSION = 2
"""1 had topics only; 2 knows the order of all events, snapshots and metadata."""

PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds."""

# An event's place is its topic's number * 2^40 + its position there: one tree holds each topic in order, and
# needs no index beside it. The view shows the log to people with a SQLite shell.
_TABLES = """
CREATE TABLE topics (
    topic INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE events (
    place INTEGER PRIMARY KEY,
    id TEXT,
    type TEXT NOT NULL,
    key TEXT,
    headers TEXT,
    time INTEGER NOT NULL,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (place >> 40, id) WHERE id IS NOT NULL;
CREATE VIEW log AS
    SELECT name AS topic, place & 0xFFFFFFFFFF AS position, id, type, key, headers,
        datetime(time / 1000000, 'unixepoch') AS time, CAST(data AS TEXT) AS data
    FROM events JOIN topics ON topic = place >> 40;
CREATE TABLE groups (
    topic INTEGER NOT NULL REFERENCES topics,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) WITHOUT ROWID;
CREATE TABLE doorbells (
    port INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL
);
"""

# A span says that ``count`` events from ``place`` on have the positions from ``position`` on in the order of the
# whole file. It grows as long as one topic is written to: this order costs a row only where topics take turns.
_ADDED_BY_2 = """
CREATE TABLE spans (
    position INTEGER PRIMARY KEY,
    place INTEGER NOT NULL UNIQUE,
    count INTEGER NOT NULL
);
CREATE TABLE snapshots (
    topic INTEGER NOT NULL REFERENCES topics,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (topic, name, version)
) WITHOUT ROWID;
CREATE TABLE metadata (
    topic INTEGER PRIMARY KEY REFERENCES topics,
    data BLOB NOT NULL
);
"""
# Version 1 didn't keep the order between topics: they stand one after the other, in the order of their making.
_SPANS_OF_1 = """
INSERT INTO spans (position, place, count)
SELECT sum(count) OVER (ORDER BY place) - count, place, count
FROM (SELECT min(place) AS place, count(*) AS count FROM events GROUP BY place >> 40)
"""


def connect(path: str) -> sqlite3.Connection:
    """Open the log, making it where there is no file yet. The connection belongs to the calling thread.

    Raises sqlite3.Error, or TopicError for a file that isn't a log of ours.
    """
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        # Nothing is acknowledged before it is on the disk; in WAL mode NORMAL may lose the last commits.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16384")
        db.execute("BEGIN")  # one look at the file: another process may be making the log just now
        version = _ours(db, path)
        db.execute("COMMIT")
        _patiently(db, "PRAGMA journal_mode = WAL")
        if version < VERSION:
            _create(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _ours(db: sqlite3.Connection, path: str) -> int:
    """Return the version of the log; 0 for an empty file. Raises TopicError for anything else."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > VERSION:
            raise TopicError(
                f"{path}: written by a newer reactor (log version {version}, this one knows {VERSION}); "
                "upgrade reactor-streams"
            )
        return int(version)
    if application or version or db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise TopicError(f"{path}: a SQLite database, but not a log of reactor; choose another path")
    return 0


def _create(db: sqlite3.Connection, path: str) -> None:
    """Make the log, or bring an older one up to this version; in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _ours(db, path)  # another process may have been first
        if version < 1:
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if version < 2:
            for statement in _ADDED_BY_2.split(";\n"):
                db.execute(statement)
            db.execute(_SPANS_OF_1)
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """SQLite doesn't apply its busy timeout to a change of the journal mode."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if (
                getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY
                or time.monotonic() > until
            ):
                raise
            time.sleep(0.01)


def explain(error: sqlite3.Error, path: str) -> TopicError:
    """Return what happened in our words, with the file and what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TopicLocked(
                f"{path}: another process has held the lock for more than {PATIENCE:g} s; "
                "end its transaction (a shell or a backup, perhaps) and try again"
            )
        case sqlite3.SQLITE_FULL:
            return TopicFull(f"{path}: no room is left ({error}); nothing of this write was stored")
        case sqlite3.SQLITE_IOERR:
            return TopicError(
                f"{path}: the disk failed, or it is full ({error}, {error.sqlite_errorname}); "
                "nothing of this write was stored"
            )
        case sqlite3.SQLITE_CORRUPT:
            return TopicCorrupt(f"{path}: the file is damaged ({error}); restore it from a backup")
        case sqlite3.SQLITE_NOTADB:
            return TopicCorrupt(f"{path}: not a SQLite database, or its first page is damaged ({error})")
        case sqlite3.SQLITE_READONLY:
            return TopicError(
                f"{path}: read-only; a log's file and its folder must be writable, also for reading ({error})"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                return TopicError(f"{path}: the folder {folder} doesn't exist; create it first")
            if os.path.isdir(path):
                return TopicError(f"{path}: is a folder; write sqlite:PATH/TOPIC, where PATH is the file's")
            return TopicError(f"{path}: can't be opened; make the file and its folder readable and writable")
        case sqlite3.SQLITE_CONSTRAINT:
            return TopicCorrupt(f"{path}: the file is damaged ({error}); restore it from a backup")
        case sqlite3.SQLITE_ERROR if any(
            sign in str(error)
            for sign in ("no such", "already exists", "malformed", "unsupported file format")
        ):
            return TopicCorrupt(f"{path}: the file is damaged ({error}); restore it from a backup")
        case None if isinstance(error, sqlite3.OperationalError):  # text that isn't UTF-8
            return TopicCorrupt(f"{path}: the file is damaged ({error}); restore it from a backup")
        case _:
            return TopicError(f"{path}: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
