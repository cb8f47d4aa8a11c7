"""A projection's SQL in PostgreSQL: its position, and how tables are moved from one schema to another.

All of it runs on the projection's thread, in a transaction of its tables. Names of schemas are ours.
"""

from __future__ import annotations

from typing import Any

from psycopg.rows import tuple_row

from reactor.eventstore.postgres_schema import Db

_THERE = """
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'reactor_projections'
"""
# What was made under which names, so that just that is dropped, and in which schema.
_POSITIONS = """
CREATE TABLE {table} (
    name text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    position bigint NOT NULL,
    made text[] NOT NULL,
    built text NOT NULL
)
"""
# What goes with a table by itself isn't listed: indexes, and the sequences of its columns.
_RELATIONS = """
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname <> 'reactor_projections' AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    AND NOT EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S'
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    )
"""
_OTHERS = """
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
WHERE d.refclassid = 'pg_namespace'::regclass AND n.nspname = %s AND d.deptype = 'n'
    AND d.classid <> 'pg_class'::regclass
ORDER BY 1
"""
_KINDS = """
SELECT c.relname::text, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY(%s::text[])
"""
_ORDER = ("VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "TABLE", "SEQUENCE")
"""Views go before what they show."""

# What was granted on the tables themselves and on single columns, but to the owner.
_GRANTS = """
SELECT c.relname::text, a.attname::text, g.privilege_type, g.is_grantable,
    CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT NULL::name AS attname, c.relacl AS acl
        UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped
    ) a
    CROSS JOIN LATERAL aclexplode(a.acl) g
WHERE n.nspname = %s AND c.relname = ANY(%s::text[]) AND g.grantee <> c.relowner
"""
_COLUMN = """
SELECT 1 FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
    AND attname = %s AND NOT attisdropped
"""
_ABANDONED = """
SELECT nspname::text FROM pg_namespace
WHERE starts_with(nspname::text, %s) AND nspname <> %s AND pg_has_role(nspowner, 'USAGE')
"""


def _rows(db: Db, query: str, *values: object) -> list[tuple[Any, ...]]:
    # With a cursor of our own: what apply has set for the connection's doesn't matter here.
    with db.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _positions(schema: str) -> str:
    return _quoted(schema, "reactor_projections")


def turn(db: Db, schema: str) -> None:
    """Wait until no other process makes tables there; IF NOT EXISTS alone would let the others fail."""
    _rows(db, "SELECT pg_advisory_xact_lock(hashtext('reactor'), hashtext(%s))", schema)


def there(db: Db, schema: str) -> bool:
    """Look whether the schema has projections."""
    # Not to_regclass(): it may remember that nothing was there before another process has made it.
    return bool(_rows(db, _THERE, schema))


def listed(db: Db, schema: str, name: str) -> bool:
    """Look whether the projection is there, in whatever version."""
    return bool(_rows(db, f"SELECT 1 FROM {_positions(schema)} WHERE name = %s", name))


def known(db: Db, schema: str, name: str) -> tuple[int, int, str] | None:
    """Return version, position and the schema it was built in; the row is locked. None where it isn't there."""
    query = f"SELECT version, position, built FROM {_positions(schema)} WHERE name = %s FOR UPDATE"
    found = _rows(db, query, name)
    return (int(found[0][0]), int(found[0][1]), str(found[0][2])) if found else None


def prepare(db: Db, schema: str) -> None:
    """Make the schema, and in it the table of positions, where they aren't."""
    # Where the schema is there, the right to create one isn't needed.
    if not _rows(db, "SELECT 1 FROM pg_namespace WHERE nspname = %s", schema):
        _rows(db, f"CREATE SCHEMA {_quoted(schema)}")
    if not there(db, schema):
        _rows(db, _POSITIONS.format(table=_positions(schema)))


def begin(db: Db, schema: str, name: str, version: int, made: list[str]) -> None:
    """Save that the tables are there, without an event."""
    query = f"INSERT INTO {_positions(schema)} VALUES (%s, %s, 0, %s::text[], %s)"
    _rows(db, query, name, version, made, schema)


def save(db: Db, schema: str, name: str, position: int) -> None:
    """Save the position."""
    _rows(db, f"UPDATE {_positions(schema)} SET position = %s WHERE name = %s", position, name)


def relations(db: Db, schema: str) -> set[str]:
    """Return the names of tables, views and sequences."""
    return {str(name) for (name,) in _rows(db, _RELATIONS, schema)}


def others(db: Db, schema: str) -> set[str]:
    """Return what else is there, and isn't moved with a table: functions, types."""
    return {str(one) for (one,) in _rows(db, _OTHERS, schema)}


def put(db: Db, schema: str, aside: str, name: str) -> None:
    """Drop the projection's tables in the schema, and move those from aside there, with the old ones' grants."""
    found = _rows(db, f"SELECT made FROM {_positions(schema)} WHERE name = %s", name)
    old: list[str] = found[0][0] if found else []
    grants = _rows(db, _GRANTS, schema, old)
    kinds = _rows(db, _KINDS, schema, old)
    for kind in _ORDER:
        tables = [_quoted(schema, str(table)) for table, its in kinds if its == kind]
        if tables:
            _rows(db, f"DROP {kind} {', '.join(tables)}")
    new = relations(db, aside)
    for table in sorted(new):  # ALTER TABLE does it for views and sequences, too
        _rows(db, f"ALTER TABLE {_quoted(aside, table)} SET SCHEMA {_quoted(schema)}")
    for table, column, privilege, grantable, grantee in grants:
        if table in new and (column is None or _rows(db, _COLUMN, schema, table, column)):
            what = privilege if column is None else f"{privilege} ({_quoted(column)})"
            option = " WITH GRANT OPTION" if grantable else ""
            _rows(db, f"GRANT {what} ON {_quoted(schema, table)} TO {grantee}{option}")
    _rows(
        db,
        f"INSERT INTO {_positions(schema)} SELECT * FROM {_positions(aside)} WHERE name = %s ON CONFLICT (name)"
        " DO UPDATE SET version = excluded.version, position = excluded.position, made = excluded.made,"
        " built = excluded.built",
        name,
    )
    _rows(db, f"DROP TABLE {_positions(aside)}")
    _rows(db, f"DROP SCHEMA {_quoted(aside)}")


def occupy(db: Db, aside: str) -> None:
    """Let others know, until the connection ends, that somebody is at it."""
    _rows(db, "SELECT pg_advisory_lock_shared(hashtext('reactor rebuild'), hashtext(%s))", aside)


def abandoned(db: Db, prefix: str, own: str) -> list[str]:
    """Return the schemas aside of processes that are gone, which are ours until the transaction ends."""
    query = "SELECT pg_try_advisory_xact_lock(hashtext('reactor rebuild'), hashtext(%s))"
    names = [str(name) for (name,) in _rows(db, _ABANDONED, prefix, own)]
    return [name for name in names if _rows(db, query, name)[0][0]]


def drop(db: Db, aside: str) -> None:
    """Drop a schema aside, where it is there."""
    _rows(db, f"DROP SCHEMA IF EXISTS {_quoted(aside)} CASCADE")
