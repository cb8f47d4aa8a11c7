"""The file: how it is opened and checked, the thread that works on it, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from reactor.connectors.loops import OwnThread
from reactor.connectors.sqlite.schema import APPLICATION_ID
from reactor.core import StateCorrupt, StateError, StateFull, StateLocked

R = TypeVar("R")

VERSION = 1

PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds."""

ANEW = "restore the file from a backup, or delete it and let the pipelines begin anew"

# Prefixed: the file may be one that others keep their tables in, as a log of ours does.
_TABLES = """
CREATE TABLE reactor_states (
    version INTEGER NOT NULL,
    parts INTEGER NOT NULL
);
CREATE TABLE reactor_states_cuts (
    pipeline TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (pipeline, name)
) WITHOUT ROWID;
CREATE TABLE reactor_states_rows (
    part INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (part, key)
) WITHOUT ROWID;
CREATE TABLE reactor_states_owners (
    pipeline TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    crc INTEGER NOT NULL
) WITHOUT ROWID;
"""

_SPOOLS = """
CREATE TEMP TABLE reactor_heap (
    slot INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    crc INTEGER NOT NULL
);
CREATE TEMP TABLE reactor_spool (
    slot INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    crc INTEGER NOT NULL,
    PRIMARY KEY (slot, key)
) WITHOUT ROWID
"""


def connect(path: str) -> sqlite3.Connection:
    """Open the file, making it or our tables in it where there are none. It belongs to the calling thread.

    Raises sqlite3.Error, or StateError for a file of a newer version.
    """
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        # A checkpoint counts when it is on the disk: in WAL mode NORMAL may lose the last commits.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16384")
        if not _ours(db, path):
            _check_whole(db, path)
            with writing(db):
                if not _ours(db, path):  # another process may have been first
                    _create(db)
        _patiently(db, "PRAGMA journal_mode = WAL")
        # Pages that change with every checkpoint are copied from the -wal file once for several of them.
        db.execute("PRAGMA wal_autocheckpoint = 4096")
        db.execute("PRAGMA journal_size_limit = 67108864")
        for statement in _SPOOLS.strip().split(";\n"):
            db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


def _ours(db: sqlite3.Connection, path: str) -> bool:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'reactor_states'").fetchone():
        return False
    row = db.execute("SELECT version FROM reactor_states").fetchone()
    if row is None:
        raise StateCorrupt(f"{path}: the file is damaged (no version of its checkpoints); {ANEW}")
    if row[0] > VERSION:
        raise StateError(
            f"{path}: its checkpoints were written by a newer reactor (version {row[0]}, this one knows "
            f"{VERSION}); upgrade reactor-streams"
        )
    return True


def _check_whole(db: sqlite3.Connection, path: str) -> None:
    """Make sure that our tables aren't there: damage to the list of tables could hide them, with all in them.

    It reads the whole file, but only when it gets its first checkpoint.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StateCorrupt(f"{path}: the file is damaged ({found}); {ANEW}")


def _create(db: sqlite3.Connection) -> None:
    # In a new file the log may come to stand beside the checkpoints: it takes only files that are reactor's.
    if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in _TABLES.strip().split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO reactor_states VALUES (?, 0)", (VERSION,))


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """SQLite doesn't apply its busy timeout to a change of the journal mode."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def writing(db: sqlite3.Connection) -> Generator[None, None, None]:
    """A transaction that holds the file's write lock from its beginning."""
    db.execute("BEGIN IMMEDIATE")
    yield from _transaction(db)


@contextmanager
def reading(db: sqlite3.Connection) -> Generator[None, None, None]:
    """A transaction in which all that is read is of one moment."""
    db.execute("BEGIN")
    yield from _transaction(db)


def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            try:
                db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # the connection is given up
        raise


def explain(error: sqlite3.Error, path: str) -> StateError:
    """Return what happened in our words, with the file and what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StateLocked(
                f"{path}: another process has held the lock for more than {PATIENCE:g} s; "
                "end its transaction (a shell or a backup, perhaps) and try again"
            )
        case sqlite3.SQLITE_FULL:
            return StateFull(
                f"{path}: no room is left ({error}); the last checkpoint stands: make room on the disk"
            )
        case sqlite3.SQLITE_IOERR:
            return StateError(
                f"{path}: the disk failed, or it is full ({error}, {error.sqlite_errorname}); "
                "the last checkpoint stands"
            )
        case sqlite3.SQLITE_CORRUPT:
            return StateCorrupt(f"{path}: the file is damaged ({error}); {ANEW}")
        case sqlite3.SQLITE_NOTADB:
            return StateCorrupt(
                f"{path}: not a SQLite database, or its first page is damaged ({error}); {ANEW}"
            )
        case sqlite3.SQLITE_READONLY:
            return StateError(
                f"{path}: read-only; the file of the checkpoints and its folder must be writable ({error})"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                return StateError(f"{path}: the folder {folder} doesn't exist; create it first")
            if os.path.isdir(path):
                return StateError(f"{path}: is a folder; write sqlite:PATH, where PATH is the file's")
            return StateError(f"{path}: can't be opened; make the file and its folder readable and writable")
        case sqlite3.SQLITE_CONSTRAINT:
            return StateCorrupt(f"{path}: the file is damaged ({error}); {ANEW}")
        case sqlite3.SQLITE_ERROR if any(
            sign in str(error) for sign in ("no such", "already exists", "unsupported file format")
        ):
            return StateCorrupt(f"{path}: the file is damaged ({error}); {ANEW}")
        case None if isinstance(error, sqlite3.OperationalError):  # text that isn't UTF-8
            return StateCorrupt(f"{path}: the file is damaged ({error}); {ANEW}")
        case _:
            return StateError(f"{path}: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")


class FileThread:
    """A thread with a connection of its own: whatever SQLite does, the event loop doesn't wait for the disk."""

    def __init__(self, path: str, role: str) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._thread = OwnThread(f"reactor checkpoints {role} {path}")

    async def call(self, work: Callable[[sqlite3.Connection, str], R]) -> R:
        """Run it on the thread, and return what it returns. If this is cancelled, it may still be done."""
        return await self._thread.ask(lambda: self._do(work)).wait()

    async def close(self) -> None:
        """Do what was asked for before, close the connection, and wait for the thread's end."""
        await self._thread.end(self._disconnect)

    # On the thread:

    def _do(self, work: Callable[[sqlite3.Connection, str], R]) -> R:
        try:
            return work(self._connected(), self._path)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        except UnicodeDecodeError as error:  # SQLite has quoted from the file
            raise StateCorrupt(f"{self._path}: the file is damaged ({error}); {ANEW}") from error
        finally:
            if self._db is not None and self._db.in_transaction:
                self._disconnect()  # its rollback failed; closing rolls back too, the next call opens anew

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            # Not before now: asking for the working directory is a system call.
            self._path = os.path.abspath(self._path)
            self._db = connect(self._path)
            self._inode = self._look()
        elif self._look() != self._inode:
            # SQLite would go on with the file that has no name any more: what it stores there is lost.
            raise StateError(
                f"{self._path}: was deleted or replaced while it was open; "
                "end all who use it before you do that, and begin again"
            )
        return self._db

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass
