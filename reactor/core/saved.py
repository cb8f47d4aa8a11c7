"""What an operator remembers, as it is handed over when a barrier passes: rows by key, and what has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final


class _Gone:
    def __repr__(self) -> str:
        return "GONE"


GONE: Final = _Gone()
"""Stands for the value of a key that is remembered no more."""


class Saved:
    """What has changed since the barrier before, of one operator.

    ``rows`` are values by key, GONE for a key that is no more; with ``complete`` a key that isn't among them is
    gone, too. ``own`` is what belongs to no key. Values that aren't ``frozen`` may change with the next event:
    they have to be encoded before it. ``gone`` are whole tables that are no more, each with its name; the key of a
    row is the pair of that and the key in it. Nobody else has them: who saves takes them apart elsewhere.
    """

    __slots__ = ("complete", "frozen", "gone", "own", "rows")

    def __init__(
        self,
        rows: Mapping[Any, Any],
        own: Any = None,
        *,
        complete: bool = False,
        frozen: bool = False,
        gone: Sequence[tuple[Any, dict[Any, Any]]] = (),
    ) -> None:
        self.rows = rows
        self.own = own
        self.complete = complete
        self.frozen = frozen
        self.gone = gone

    def changes(self, before: Saved | None) -> Iterator[tuple[Any, Any]]:
        """Yield keys with their new values, or GONE; ``before`` is what this operator handed over last."""
        yield from self.rows.items()


class Copied(Saved):
    """Copies of all tables of an operator that never changes a value in place: what differs is found later.

    The key of a row is the pair of a table's name and the key in it.
    """

    __slots__ = ("tables",)

    def __init__(
        self, tables: Mapping[Any, Mapping[Any, Any]], own: Any = None, *, complete: bool = False
    ) -> None:
        super().__init__({}, own, complete=complete, frozen=True)
        self.tables = tables

    def changes(self, before: Saved | None) -> Iterator[tuple[Any, Any]]:
        old = before.tables if isinstance(before, Copied) and not self.complete else {}
        nothing: Any = GONE
        for name, table in self.tables.items():
            earlier = old.get(name)
            if earlier is None:
                for key, value in table.items():
                    yield (name, key), value
                continue
            for key, value in table.items():
                if earlier.get(key, nothing) is not value:
                    yield (name, key), value
            if len(earlier) != len(table) or earlier.keys() != table.keys():
                for key in earlier.keys() - table.keys():
                    yield (name, key), GONE
        for name, table in old.items():
            if name not in self.tables:
                for key in table:
                    yield (name, key), GONE
