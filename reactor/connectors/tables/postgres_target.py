"""One table of PostgreSQL: what it is like, and how rows get into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import errors

from reactor.connectors.tables.address import Address
from reactor.connectors.tables.columns import Columns, Kind, Made
from reactor.connectors.tables.postgres_server import Db
from reactor.connectors.tables.shape import Shape, listed, quoted
from reactor.core import TableError

Row = tuple[Any, ...]

_KINDS: dict[Kind, str] = {
    "bool": "boolean",
    "int": "bigint",
    "float": "double precision",
    "str": "text",
    "bytes": "bytea",
    "decimal": "numeric",
    "datetime": "timestamptz",
    "date": "date",
    "time": "time",
    "duration": "interval",
    "uuid": "uuid",
    "json": "jsonb",
}
LOCK = b"SELECT pg_advisory_xact_lock(hashtext('reactor'), hashtext('tables'))"
"""Of several processes one makes tables: IF NOT EXISTS alone lets the others fail."""

THERE = """
SELECT c.oid, n.nspname::text, quote_ident(n.nspname), quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %s AND n.nspname = coalesce(%s, n.nspname) AND c.relkind IN ('r', 'p', 'f', 'v')
    AND (%s::text IS NOT NULL OR n.nspname = ANY(current_schemas(false)))
ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1
"""
_COLUMNS = """
SELECT attname, attnum, attnotnull, format_type(atttypid, -1), format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_UNIQUE = """
SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY(indkey))
FROM pg_index WHERE indrelid = %s AND (indisunique OR indisexclusion)
"""
_OTHERS = """
SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = %(table)s AND contype IN ('f', 't'))
    OR EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = %(table)s AND NOT tgisinternal)
"""
_CHECKS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = %s AND contype = 'c' AND convalidated AND conkey <@ %s::int2[]
"""


class Target:
    """The table at this address, as it was when the connection was made."""

    def __init__(self, address: Address, where: str, columns: Columns, made: Sequence[Made] | None) -> None:
        self._address = address
        self._where = where
        self._made = made
        self.names = columns.names
        self.shape = Shape("", columns.names, columns.key)
        self.namespace = ""
        """The name of the table's schema, ``schema`` as it stands in SQL."""
        self.schema = ""
        self.unsure = False
        """Whether rows that fit the columns may still be refused by the table: it has more to say than they."""
        self._table = 0
        self._types: dict[str, tuple[int, bool, str, str]] = {}
        """Of each column its number, whether it must have a value, its type, and that with its length."""

    def look(self, db: Db) -> None:
        """Make the table where that is wanted, and raise for one that these rows can't be written to."""
        schema, name = self._address.schema, self._address.table
        there = db.execute(THERE, (name, schema, schema)).fetchone()
        if there is None and self._made is not None:
            db.execute(LOCK)
            target = quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"
            db.execute(self._creation(target, self._made))
            there = db.execute(THERE, (name, schema, schema)).fetchone()
        if there is None:
            place = f" in the schema {schema}" if schema is not None else ""
            raise TableError(f"{self._where}: there is no such table{place}; pass create=True, or make it")
        self._table, self.namespace, self.schema = int(there[0]), str(there[1]), str(there[2])
        self.shape = Shape(str(there[3]), self.names, self.shape.key)
        self._types = {str(row[0]): row[1:] for row in db.execute(_COLUMNS, (self._table,)).fetchall()}
        missing = [name for name in self.names if name not in self._types]
        if missing:
            raise TableError(
                f"{self._where}: has no column {', '.join(missing)}; it has {', '.join(self._types)}: "
                "add it, or pass columns="
            )
        nulls = ", ".join(f"NULL::{self._types[name][2]}" for name in self.names)
        try:
            db.execute(f"EXPLAIN {self.shape.insert(f'VALUES ({nulls})')}".encode())
        except errors.InvalidColumnReference as error:
            raise TableError(
                f"{self._where}: key={self.shape.key!r} has no unique index; make one: "
                f"CREATE UNIQUE INDEX ON {self.shape.target} ({listed(self.shape.key)})"
            ) from error
        unique = {frozenset(names) for (names,) in db.execute(_UNIQUE, (self._table,)).fetchall()}
        (others,) = db.execute(_OTHERS, {"table": self._table}).fetchone() or (True,)
        self.unsure = others or any(index & set(self.names) for index in unique - {frozenset(self.shape.key)})

    def _creation(self, target: str, made: Sequence[Made]) -> bytes:
        parts = [
            f"{quoted(column.name)} {_KINDS[column.kind]}{'' if column.nullable else ' NOT NULL'}"
            for column in made
        ]
        if self.shape.key:
            parts.append(f"PRIMARY KEY ({listed(self.shape.key)})")
        return f"CREATE TABLE IF NOT EXISTS {target} ({', '.join(parts)})".encode()

    def insert(self, db: Db, rows: Sequence[Row]) -> None:
        """Put the rows into the table itself."""
        if not self.shape.key:
            return copy(db, f"{self.shape.target} ({listed(self.names)})", rows)
        insert = self.shape.insert("VALUES (\0)").replace("%", "%%")
        marks = ", ".join(f"%s::{self._types[name][2].replace('%', '%%')}" for name in self.names)
        with db.cursor() as cursor:
            cursor.executemany(insert.replace("\0", marks).encode(), rows)

    def columns(self, db: Db) -> str:
        """Return the columns of a table that refuses what these columns do."""
        parts: list[str] = []
        for name in self.names:
            _, required, _, type = self._types[name]
            parts.append(f"{quoted(name)} {type}{' NOT NULL' if required else ''}")
        numbers = [self._types[name][0] for name in self.names]
        parts += [str(check) for (check,) in db.execute(_CHECKS, (self._table, numbers)).fetchall()]
        return ", ".join(parts)


def copy(db: Db, into: str, rows: Sequence[Row]) -> None:
    """Put rows into a table, the fastest way."""
    with db.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copying:
        for row in rows:
            copying.write_row(row)
