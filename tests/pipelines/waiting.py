"""Waiting for a moment in the life of another process, which may be over when it is seen."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from tests.pipelines.conftest import App

T = TypeVar("T")


class TooLate(AssertionError):
    """The process has done all before it could be disturbed."""


def count(database: Path, table: str) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=30)) as db:
        try:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:  # it is being made
            return 0


def wait_until(reached: Callable[[], bool], app: App) -> None:
    until = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < until, app.out + app.err
        code = app.process.poll()
        if code == 0:
            raise TooLate
        assert code is None, app.out + app.err
        time.sleep(0.005)


def in_time(folder: Path, disturb: Callable[[Path], T]) -> T:
    """Do it to a HOME; where it comes too late, to another one: three times at most."""
    for number in (1, 2):
        try:
            return disturb(folder / f"home{number}")
        except TooLate:
            pass
    return disturb(folder / "home3")
