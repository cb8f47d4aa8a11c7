"""The connection to a SQLite file with tables, and what its errors mean. All of it runs on one thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

from reactor.connectors.sqlite.schema import APPLICATION_ID
from reactor.core import TableError

R = TypeVar("R")

PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds."""


class File:
    """The file at ``path``; ``look`` sees to it that what is wanted of it is there, whenever it was opened."""

    def __init__(self, path: str, where: str, make: bool, look: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._where = where
        self._make = make
        self._look = look
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._wal = False

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            new = not os.path.exists(self._path)
            if new and not self._make:
                raise TableError(
                    f"{self._path}: there is no such file; pass create=True, or make the table there"
                )
            mode = "rwc" if self._make else "rw"
            self._db = db = sqlite3.connect(
                f"file:{quote(self._path)}?mode={mode}", timeout=PATIENCE, isolation_level=None, uri=True
            )
            (application,) = db.execute("PRAGMA application_id").fetchone()
            if application == APPLICATION_ID:
                raise TableError(
                    f"{self._path}: the file holds topics or checkpoints; name another one, tables stand apart"
                )
            if new:
                with suppress(sqlite3.OperationalError):  # another process makes the file just now
                    db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            self._wal = db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            self._look(db)
            self._inode = self._identity()
        elif self._identity() != self._inode:
            # SQLite would go on with the file that has no name any more: what it stores there is lost.
            raise TableError(f"{self._path}: was deleted or replaced while it was open; begin again")
        return self._db

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        db, self._db, self._inode = self._db, None, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass

    def call(self, work: Callable[[], R]) -> R:
        """Run it with the file open; TableError for what SQLite or the system says."""
        try:
            self._connected()
            return work()
        except sqlite3.Error as error:
            raise self._meaning(error) from error
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror or error}") from error
        finally:
            if self._db is not None and self._inode is None:
                self.close()  # it wasn't opened to the end

    def transaction(self, work: Callable[[sqlite3.Connection], R], *, durable: bool = True) -> R:
        """Run the work in a transaction. One that needn't be durable yet is so with the next one that is."""

        def run() -> R:
            db = self._connected()
            if self._wal:
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            try:
                db.execute("BEGIN IMMEDIATE")
                result = work(db)
                db.execute("COMMIT")
                return result
            except BaseException:
                if db.in_transaction:
                    try:
                        db.execute("ROLLBACK")
                    except sqlite3.Error:
                        self.close()  # closing rolls back too; the next call opens anew
                raise

        return self.call(run)

    def rehearsed(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run the work in a transaction that leaves nothing behind."""

        def run() -> R:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            try:
                return work(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

        return self.call(run)

    def _meaning(self, error: sqlite3.Error) -> TableError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        match code:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                what = (
                    f"another connection has held the lock for more than {PATIENCE:g} s; end its transaction "
                    "(a shell or a backup, perhaps) and try again"
                )
            case sqlite3.SQLITE_FULL:
                what = f"no room is left ({error}); nothing of this was stored"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                what = f"the file is damaged, or no SQLite database ({error}); restore it from a backup"
            case sqlite3.SQLITE_READONLY:
                what = f"read-only; the file and its folder must be writable ({error})"
            case sqlite3.SQLITE_CANTOPEN:
                folder = os.path.dirname(self._path) or "."
                missing = not os.path.isdir(folder)
                what = (
                    f"the folder {folder} doesn't exist; create it first"
                    if missing
                    else "can't be opened; make the file and its folder readable and writable"
                )
            case _:
                what = f"{error} ({name})"
        return TableError(f"{self._where}: {what}")
