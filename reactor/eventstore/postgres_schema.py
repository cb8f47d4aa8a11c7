"""The tables in PostgreSQL, and what its errors mean. All of it runs on a worker's thread."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors, sql

from reactor.core import ArgumentError, TopicCorrupt, TopicError, TopicFull, TopicLocked
from reactor.eventstore.events import StoreUnreachable
from reactor.eventstore.postgres_place import Place

Db = psycopg.Connection[tuple[Any, ...]]

VERSION = 1
PATIENCE = 10
"""Seconds to wait for writers of other processes."""

# An event is a row with its place in the order of all; its data is the JSON that the codec has made.
# ``writers`` has no rows: who writes locks it, so writers take turns (see postgres_rows.TURN).
_TABLES = """
CREATE TABLE store (version int NOT NULL);
CREATE TABLE writers ();
CREATE TABLE streams (
    stream bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    next bigint NOT NULL,
    metadata bytea
);
CREATE TABLE events (
    position bigint PRIMARY KEY,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    category text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    key text,
    headers text,
    time bigint NOT NULL,
    data bytea NOT NULL,
    UNIQUE (stream, version),
    UNIQUE (stream, id)
);
CREATE INDEX events_category ON events (category, position);
CREATE TABLE groups (
    kind text NOT NULL,
    target text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (kind, target, name)
);
CREATE TABLE snapshots (
    stream text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (stream, name, version)
);
CREATE VIEW readable AS
    SELECT e.position, s.name AS stream, e.version, e.type, e.id, e.key, e.headers,
        to_timestamp(e.time / 1000000.0) AS time, convert_from(e.data, 'UTF8') AS data
    FROM events e JOIN streams s USING (stream);
"""

_SETTINGS = """
SELECT set_config('search_path', %(path)s, false),
    set_config('lock_timeout', %(patience)s, false),
    -- A process that stands still in its turn (stopped, or its machine asleep) loses it.
    set_config('idle_in_transaction_session_timeout', %(patience)s, false),
    -- What is acknowledged is on the disk, whatever the database's default; replication may ask for more.
    CASE WHEN current_setting('synchronous_commit') = 'off'
        THEN set_config('synchronous_commit', 'on', false) END,
    current_setting('server_encoding')
"""

_THERE = """
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'store' AND c.relkind = 'r'
"""

_FATAL = (
    ("password authentication failed", "correct user and password in the URL"),
    ("no password supplied", "put a password into the URL, PGPASSWORD or ~/.pgpass"),
    ('role "', "create the user, or correct it in the URL"),
    ("no pg_hba.conf entry", "let pg_hba.conf admit this user from this host, perhaps with ?sslmode=require"),
    ("permission denied", "GRANT CONNECT ON DATABASE to this user"),
    ("SSL", "choose another ?sslmode= in the URL, or configure TLS in the server"),
)
_UNREACHABLE = ("starting up", "shutting down", "in recovery mode", "not yet accepting", "too many clients")


def connect(place: Place) -> Db:
    """Open the store, making its tables where there are none.

    Raises StoreUnreachable where no server answers, and TopicError for what waiting doesn't mend.
    """
    try:
        db = place.connect()
    except psycopg.Error as error:
        # Without its cause: psycopg's error holds the connection's settings, password included.
        raise unconnected(str(error), place) from None
    try:
        _prepare(db, place)
    except BaseException:
        db.close()
        raise
    place.reached = True
    return db


def _prepare(db: Db, place: Place) -> None:
    found = db.execute(_SETTINGS, {"path": f'"{place.schema}"', "patience": f"{PATIENCE}s"}).fetchone()
    assert found is not None
    if found[-1] != "UTF8":
        raise TopicError(
            f"{place.shown}: the database's encoding is {found[-1]}, which can't hold all text; "
            f"CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    if _version(db, place) == 0:
        with db.transaction():
            _make(db, place)


def _version(db: Db, place: Place) -> int:
    """Return the version of the tables, 0 where there are none. Raises TopicError for tables of another."""
    # Not to_regclass(): it may remember that nothing was there before another process has made it.
    if not db.execute(_THERE, (place.schema,)).fetchone():
        return 0
    # With its schema: a search passes over one that may not be used, and would say that nothing is there.
    query = sql.SQL("SELECT max(version) FROM {}.store").format(sql.Identifier(place.schema))
    (version,) = db.execute(query).fetchone() or (None,)
    if version != VERSION:
        fix = (
            "upgrade reactor-streams"
            if isinstance(version, int) and version > VERSION
            else "there is no way up from it: read it with the reactor that wrote it, and append to a new ?schema="
        )
        raise TopicError(
            f"{place.shown}: the tables in the schema {place.schema} are of version {version}, this reactor "
            f"knows {VERSION}; {fix}"
        )
    return VERSION


def _make(db: Db, place: Place) -> None:
    # Of several processes one makes them; IF NOT EXISTS alone would let the others fail.
    db.execute("SELECT pg_advisory_xact_lock(hashtext('reactor'), hashtext(%s))", (place.schema,))
    if _version(db, place):
        return
    # Where the schema is there, the right to create one isn't needed.
    if not db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (place.schema,)).fetchone():
        db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(place.schema)))
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement.encode())
    db.execute("INSERT INTO store VALUES (%s)", (VERSION,))


def lost(db: Db | None, error: BaseException) -> bool:
    """Look whether the connection is gone: another one may do."""
    return (db is not None and db.closed and isinstance(error, psycopg.Error)) or isinstance(
        error,
        StoreUnreachable
        | errors.AdminShutdown
        | errors.CrashShutdown
        | errors.CannotConnectNow
        | errors.IdleInTransactionSessionTimeout,
    )


def unconnected(said: str, place: Place) -> TopicError:
    """Return what a failed connection means, by what libpq has said: there is no code to go by."""
    said = place.scrubbed(" ".join(said.split())).removeprefix("connection failed: ")
    if f'database "{place.database}" does not exist' in said:
        return TopicError(f"{place.shown}: {said}; CREATE DATABASE {place.database}, or correct the URL")
    if not any(words in said for words in _UNREACHABLE):
        for words, fix in _FATAL:
            if words in said:
                return TopicError(f"{place.shown}: {said}; {fix}")
    return StoreUnreachable(
        f"{place.shown}: no connection to PostgreSQL at {place.server}: {said}; "
        "start the server, or correct host and port"
    )


def explain(error: psycopg.Error, place: Place, db: Db | None) -> Exception:
    """Return what happened in our words, and what to do about it."""
    said = place.scrubbed(str(error).strip().partition("\n")[0])
    shown = place.shown
    if lost(db, error):
        return StoreUnreachable(f"{shown}: the connection is lost ({said}); is the server running?")
    match error:
        case errors.LockNotAvailable() | errors.DeadlockDetected():
            return TopicLocked(
                f"{shown}: another process has held a lock for more than {PATIENCE} s ({said}); "
                "look for it in pg_stat_activity, and try again"
            )
        case errors.DiskFull() | errors.OutOfMemory():
            return TopicFull(f"{shown}: no room is left ({said}); nothing of this write was stored")
        case errors.InsufficientPrivilege():
            return TopicError(
                f"{shown}: {said}; let an owner of the database open the store once, and GRANT this user "
                f"USAGE on the schema {place.schema} and all on its tables"
            )
        case errors.DuplicateTable() | errors.UndefinedTable() | errors.UndefinedColumn():
            return TopicError(
                f"{shown}: {said}: the schema {place.schema} has tables that aren't the store's; "
                "choose another ?schema="
            )
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return TopicCorrupt(f"{shown}: {said}; restore the database from a backup")
        case errors.ReadOnlySqlTransaction():
            return TopicError(f"{shown}: {said}: this server is a standby, or read-only; name the primary")
        case errors.ProgramLimitExceeded():
            return ArgumentError(f"{shown}: {said}: a stream's name or an event's id is too long")
        case psycopg.DataError():
            return ArgumentError(f"{shown}: {said}: names, ids, keys and types are text without NUL")
        case _:
            return TopicError(f"{shown}: {said} ({error.sqlstate or type(error).__name__})")
