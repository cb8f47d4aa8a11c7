"""Tables of a database as sinks: ``orders.to(table("sqlite:shop.db/orders", Order, key="id"))``"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from reactor.connectors.tables import Columns, Database, TableSink
from reactor.connectors.tables.address import address, redacted
from reactor.connectors.tables.columns import Made as Column
from reactor.connectors.tables.columns import check_name
from reactor.core import ArgumentError, MissingExtra, Sink

__all__ = ["table"]

T = TypeVar("T")

Made = Sequence[Column] | None
Make = Callable[[str, Columns, Made], tuple[str, Callable[[], Database]]]


def _sqlite(url: str, columns: Columns, made: Made) -> tuple[str, Callable[[], Database]]:
    path, slash, name = url.partition(":")[2].rpartition("/")
    if not slash or not name or not path.strip("/") or path.endswith("/") or path.startswith("//"):
        raise ArgumentError(f"table({url!r}): write sqlite:PATH/TABLE, for example sqlite:shop.db/orders")
    from reactor.connectors.tables.sqlite import SqliteTable

    return name, lambda: SqliteTable(path, name, columns, made)


def _postgres(url: str, columns: Columns, made: Made) -> tuple[str, Callable[[], Database]]:
    place = address(url)
    if place.schema is not None:
        check_name(f"table({place.shown!r})", "schema", place.schema)
    try:
        from reactor.connectors.tables.postgres import PostgresTable
    except ImportError as error:
        if (error.name or "psycopg").partition(".")[0] != "psycopg":
            raise
        raise MissingExtra("table('postgresql://...')", "postgres") from error
    PostgresTable(place, columns, made)  # raises for a URL that libpq doesn't take
    return place.table, lambda: PostgresTable(place, columns, made)


_schemes: dict[str, Make] = {"sqlite": _sqlite, "postgresql": _postgres, "postgres": _postgres}


@overload
def table(
    url: str,
    kind: type[T],
    /,
    *,
    key: str | Iterable[str] = ...,
    columns: Mapping[str, str | Callable[[T], object]] | None = ...,
    create: bool = ...,
) -> Sink[T]: ...
@overload
def table(
    url: str,
    kind: None = None,
    /,
    *,
    key: str | Iterable[str] = ...,
    columns: Mapping[str, str | Callable[[Any], object]],
    create: bool = ...,
) -> Sink[Any]: ...


def table(
    url: str,
    kind: type[Any] | None = None,
    /,
    *,
    key: str | Iterable[str] = (),
    columns: Mapping[str, str | Callable[[Any], object]] | None = None,
    create: bool = False,
) -> Sink[Any]:
    """Return a sink that writes each event as a row of the table at ``url``; nothing is opened yet.

    ``sqlite:PATH/TABLE``, or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?table=TABLE`` (and ``&schema=``), for
    which there is an extra, ``postgres``.

    The columns are the fields of ``kind`` (a msgspec.Struct, a dataclass, an attrs class), or ``columns``: of
    each its field, or a function of the event. With ``key`` a row takes the place of the one whose key is the
    same, so that writing it again does no harm; those columns need a unique index. ``create`` makes the table
    where there is none, as the annotations say. Each write is one transaction; in a pipeline with
    ``guarantee="exactly-once"`` rows are staged in the same database, and moved into the table when their
    checkpoint is decided.

    Decimals, times and UUIDs are text in SQLite and have types of their own in PostgreSQL; an Enum is its value;
    what has parts is JSON. Raises ArgumentError here, and TableError when a run opens it.
    """
    known = ", ".join(f"{scheme}:" for scheme in _schemes)
    where = f"table({redacted(url)!r})"
    scheme, colon, rest = url.partition(":") if isinstance(url, str) else ("", "", "")
    if not colon:
        raise ArgumentError(f"{where}: the first argument is a URL; known schemes: {known}")
    if scheme not in _schemes:
        raise ArgumentError(f"{where}: unknown scheme {scheme!r}; known schemes: {known}")
    if not rest.isprintable():
        raise ArgumentError(f"{where}: has characters that can't be printed; leave them out")
    names = (key,) if isinstance(key, str) else tuple(key)
    every = Columns(where, kind, names, columns)
    name, make = _schemes[scheme](url, every, every.made() if create else None)
    check_name(where, "table", name)
    if scheme == "sqlite" and len({column.lower() for column in every.names}) < len(every.names):
        raise ArgumentError(
            f"{where}: names of columns that differ in their case only are the same in SQLite"
        )
    return TableSink(name, every, make)
