"""Where the tables of a projection are, for its tests: what differs between SQLite and PostgreSQL."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from reactor.eventstore import StoredEvent
from reactor.testing.stores import Added

Look = Callable[[str], list[tuple[Any, ...]]]


class Place(ABC):
    """A place that nobody has used yet."""

    into: str
    mark: str

    def add(self, db: Any, item: str, n: int) -> None:
        """Count an item up in the table ``stock``."""
        db.execute(
            f"INSERT INTO stock VALUES ({self.mark}, {self.mark})"
            " ON CONFLICT (item) DO UPDATE SET n = stock.n + excluded.n",
            (item, n),
        )

    def count(self, db: Any, event: StoredEvent[Any]) -> None:
        """Apply an event."""
        self.add(db, event.value.item, 1 if isinstance(event.value, Added) else -1)

    @abstractmethod
    def reader(self) -> AbstractContextManager[Look]:
        """Yield what runs queries on a connection of its own, as another program would."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Return what rebuilds have left aside."""

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query; in PostgreSQL also other statements."""
        with self.reader() as look:
            return look(sql)


class SqlitePlace(Place):
    mark = "?"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.into = f"sqlite:{path}"

    @contextmanager
    def reader(self) -> Generator[Look]:
        with closing(sqlite3.connect(self.path)) as db:
            yield lambda sql: db.execute(sql).fetchall()

    def leftovers(self) -> list[str]:
        return [found.name for found in self.path.parent.glob(f"{self.path.name}.*-*")]


class PostgresPlace(Place):
    mark = "%s"

    def __init__(self, url: str) -> None:
        self.into = url
        self.server, _, self.schema = url.partition("?schema=")

    @contextmanager
    def reader(self) -> Generator[Look]:
        with closing(psycopg.connect(self.server, autocommit=True)) as db:
            db.execute(f"SET search_path = {self.schema}".encode())
            yield lambda sql: _last(db.execute(sql.encode()))

    def leftovers(self) -> list[str]:
        query = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, 'reactor_rebuild_')"
        return [name for (name,) in self.look(query)]


def _last(cursor: psycopg.Cursor) -> list[tuple[Any, ...]]:
    """Return the rows of the last of several statements."""
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []
