"""What may be wrong with a file. SQLite itself is told so, and makes the errors; or it is done to the file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Literal

import pytest

from reactor.connectors.sqlite import schema
from reactor.connectors.states import file
from reactor.connectors.tables import sqlite_file

Fault = Literal["full", "read-only", "locked"]
FAULTS: tuple[Fault, ...] = ("full", "read-only", "locked")

_PRAGMAS = {
    "full": "max_page_count = 1",  # SQLite takes the size that the file has
    "read-only": "query_only = 1",
    None: "query_only = 0",
}


class Connection(sqlite3.Connection):
    """One that suffers from what is wrong with its file."""

    disk: Disk
    name: str = ""
    _suffers: str | None = None

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._suffer()
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self._suffer()
        return super().executemany(*args)

    def _suffer(self) -> None:
        wrong = self.disk.wrong.get(self.name)
        if wrong != self._suffers:
            self._suffers = wrong
            super().execute("PRAGMA max_page_count = 1073741823")
            super().execute(f"PRAGMA {_PRAGMAS[wrong]}")


class Disk:
    """Every file that is opened after this."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wrong: dict[str, str] = {}
        self._folder = folder
        self._locks: dict[str, sqlite3.Connection] = {}
        self._connect = connect = sqlite3.connect

        def suffering(path: Any, *args: Any, **options: Any) -> sqlite3.Connection:
            db = connect(path, *args, **options, factory=Connection)
            assert isinstance(db, Connection)
            db.disk, db.name = self, str(path).partition("?")[0].rpartition("/")[2]
            return db

        for module in (schema, file, sqlite_file):
            monkeypatch.setattr(module, "PATIENCE", 0.05)
            monkeypatch.setattr(module, "sqlite3", _Module(sqlite3, suffering))

    def strike(self, name: str, fault: Fault) -> None:
        """From now on it is so."""
        if fault == "locked":
            lock = self._connect(self._folder / name, isolation_level=None, check_same_thread=False)
            lock.execute("BEGIN IMMEDIATE")
            self._locks[name] = lock
        else:
            self.wrong[name] = fault

    def mend(self) -> None:
        """All is well again."""
        self.wrong.clear()
        while self._locks:
            self._locks.popitem()[1].close()


class _Module:
    """The module, with another connect()."""

    def __init__(self, module: Any, connect: Any) -> None:
        self.connect = connect
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
