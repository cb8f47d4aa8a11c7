"""The SQL that SQLite and PostgreSQL have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec


def quoted(name: str) -> str:
    """Return a name as it stands in SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them."""
    return ", ".join(map(quoted, names))


class Shape(msgspec.Struct, frozen=True):
    """A table, and which of its columns a row has."""

    target: str
    """The table's name as it stands in SQL."""
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def insert(self, values: str) -> str:
        """Return the statement that stores what ``values`` gives: a row of the same key takes its place."""
        statement = f"INSERT INTO {self.target} ({listed(self.columns)}) {values}"
        if not self.key:
            return statement
        others = [name for name in self.columns if name not in self.key]
        sets = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
        return (
            f"{statement} ON CONFLICT ({listed(self.key)}) DO {f'UPDATE SET {sets}' if sets else 'NOTHING'}"
        )

    def staged(self) -> list[str]:
        """Return the columns' names where rows are staged: they can't be taken for any other."""
        return [f"c{n}" for n in range(len(self.columns))]


Trial = Callable[[Sequence[tuple[Any, ...]]], Exception | None]
"""Stores rows in a transaction that will be rolled back; where it can't, returns why, and has stored none."""


def blame(rows: Sequence[tuple[Any, ...]], trial: Trial, first: int = 0) -> dict[int, Exception]:
    """Return the rows that can't be stored, and why: halves are tried, until each stands alone."""
    error = trial(rows)
    if error is None:
        return {}
    if len(rows) == 1:
        return {first: error}
    half = len(rows) // 2
    return blame(rows[:half], trial, first) | blame(rows[half:], trial, first + half)
