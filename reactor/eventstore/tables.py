"""Where a projection's tables are: the interface that SQLite and PostgreSQL have in common.

Every method but ``aside`` runs on one thread, whose connection it uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from reactor.eventstore.events import StoredEvent

Apply = Callable[[Any, Sequence[StoredEvent[Any]]], None]
"""Puts events into the tables, through the database's own connection."""


class Tables(ABC):
    """The tables of one projection, and its position, which is a row beside them."""

    @abstractmethod
    def aside(self) -> Tables:
        """Return a place for the same tables, to be made anew in."""

    @abstractmethod
    def position(self) -> int:
        """Return the position to go on at, having made the tables where there are none."""

    @abstractmethod
    def advance(self, events: Sequence[StoredEvent[Any]], start: int, end: int, apply: Apply) -> int:
        """Apply the events from ``start`` to before ``end`` and save ``end``, at once; return where to go on.

        Where another process has been faster, or has built the tables anew, that is another place.
        """

    @abstractmethod
    def query(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query, also of tables of another version while new ones are made."""

    @abstractmethod
    def take(self, other: Tables) -> bool:
        """Put the other's rows and position in place of what is here, in one transaction.

        Returns False, and changes nothing, while the other is behind.
        """

    @abstractmethod
    def remove(self) -> None:
        """Delete a place aside, with what is left of earlier ones."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""
