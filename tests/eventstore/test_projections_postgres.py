"""Projections in PostgreSQL: what is its own."""

import logging
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from reactor.core import ArgumentError
from reactor.eventstore import (
    EventStore,
    FoldProjection,
    Projection,
    ProjectionError,
    StoredEvent,
    StoreUnreachable,
    event_store,
    postgres_tables,
    projections,
)
from reactor.eventstore.projections import _tables
from reactor.testing.stores import Added, Removed
from tests.eventstore.places import PostgresPlace
from tests.servers.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.asyncio

TABLES = "CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER NOT NULL)"
APART = "CREATE TABLE other (a INTEGER); "


@pytest.fixture
def place(postgres: Postgres) -> PostgresPlace:
    return PostgresPlace(postgres.schema())


@pytest.fixture
def store(tmp_path: Path) -> EventStore[Added | Removed]:
    return event_store(f"sqlite:{tmp_path}/shop.db", Added, Removed)


def stock(store: EventStore[Any], place: PostgresPlace, apply: Any = None, **more: Any) -> Projection[Any]:
    given: dict[str, Any] = {"tables": TABLES, "into": place.into, **more}
    return Projection("stock", store, apply or place.count, **given)


def ignore(db: Any, event: StoredEvent[Any]) -> None:
    pass


# What is refused ----------------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    assert PASSWORD not in text
    assert "s3cret" not in text
    return str(error)


@pytest.mark.parametrize(
    "into",
    [
        "postgresql:",
        "postgresql:shop:t0p-s3cret@host/db",
        "postgresql:/shop:t0p-s3cret@host/db",
        "postgresql://shop:t0p-s3cret@host",
        "postgresql://shop:t0p-s3cret@host/db?schema=No",
        "postgresql://shop:t0p-s3cret@host/db?nonsense=1",
        "mysql://shop:t0p-s3cret@host/db",
        "shop:t0p-s3cret@host/db",
    ],
)
async def test_what_is_no_url(store: EventStore[Any], into: str) -> None:
    with pytest.raises(ArgumentError, match=r"Projection\('stock', into=.*(write |schema=)") as caught:
        Projection("stock", store, ignore, tables=TABLES, into=into)
    told(caught.value)


@pytest.mark.blocking
async def test_without_psycopg_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from reactor.core import MissingExtra\nfrom reactor.eventstore import Projection, event_store\n"
        "given = ('x', event_store('memory:a'), print)\n"
        "Projection(*given, tables='CREATE TABLE x (a)', into='sqlite:x.db')\n"
        "try:\n    Projection(*given, tables='CREATE TABLE x (a)', into='postgresql://shop:s3cret@host/db')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "Projection(into='postgresql://...') needs an extra: pip install \"reactor-streams[postgres]\""
    )


async def test_servers_that_let_nobody_in(
    store: EventStore[Any], place: PostgresPlace, postgres: Postgres
) -> None:
    wrong = place.into.replace(postgres.url("postgres"), "postgresql://shop:s3cret@127.0.0.1:1/postgres")
    with pytest.raises(StoreUnreachable, match=r"projection stock: .*no connection to PostgreSQL") as caught:
        await stock(store, place, into=wrong).catch_up()
    told(caught.value)
    wrong = f"postgresql://shop:s3cret@127.0.0.1:{postgres.port}/postgres"
    with pytest.raises(ProjectionError, match="correct user and password in the URL") as failed:
        await stock(store, place, into=wrong).catch_up()
    told(failed.value)


async def test_a_schema_that_has_such_a_table_already(store: EventStore[Any], place: PostgresPlace) -> None:
    place.look(f"CREATE SCHEMA {place.schema}; CREATE TABLE reactor_projections (name TEXT)")
    for call in (
        stock(store, place).catch_up,
        stock(store, place).rebuild,
        lambda: stock(store, place).query("X"),
    ):
        with pytest.raises(
            ProjectionError, match=r"that isn't reactor's: choose another \?schema="
        ) as caught:
            await call()
        told(caught.value)
    assert place.leftovers() == []


async def test_an_apply_that_goes_on_after_an_error(store: EventStore[Any], place: PostgresPlace) -> None:
    def careless(db: psycopg.Connection, event: StoredEvent[Any]) -> None:
        try:
            db.execute("SELECT 1 / 0")
        except psycopg.Error:
            pass

    def careful(db: psycopg.Connection, event: StoredEvent[Any]) -> None:
        place.count(db, event)
        try:
            with db.transaction():
                db.execute("SELECT 1 / 0")
        except psycopg.Error:
            pass

    await store.append("s-1", [Added("a")])
    with pytest.raises(ProjectionError, match=r"with db.transaction\(\)"):
        await stock(store, place, careless).catch_up()
    assert await stock(store, place, careful).catch_up() == 1
    assert await stock(store, place).query("SELECT * FROM stock") == [("a", 1)]
    with pytest.raises(psycopg.errors.DivisionByZero) as caught:
        await stock(store, place).query("SELECT 1 / %s", 0)
    told(caught.value)


async def test_a_query_changes_nothing(store: EventStore[Any], place: PostgresPlace) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await stock(store, place).query("DELETE FROM stock")


async def test_tables_that_can_not_be_moved(store: EventStore[Any], place: PostgresPlace) -> None:
    tables = {
        "CREATE TYPE size AS ENUM ('s', 'l'); CREATE TABLE stock (s size)": "type size.*make the rest elsewhere",
        "SELECT 1": "makes no table in the schema",
        "CREATE TABLE stock (a INTEGER); COMMIT": "tables= has ended the transaction",
    }
    for number, (sql, says) in enumerate(tables.items()):
        into = PostgresPlace(f"{place.into}_{number}")
        with pytest.raises(ProjectionError, match=says):
            await stock(store, into, tables=sql).catch_up()


async def test_a_user_who_may_not_make_schemas(
    store: EventStore[Any], place: PostgresPlace, postgres: Postgres
) -> None:
    role = f"clerk_{place.schema}"
    place.look(
        f"CREATE SCHEMA {place.schema}; CREATE ROLE {role} LOGIN PASSWORD 's3cret';"
        f"GRANT CREATE, USAGE ON SCHEMA {place.schema} TO {role}"
    )
    into = f"postgresql://{role}:s3cret@127.0.0.1:{postgres.port}/postgres?schema={place.schema}"
    await store.append("s-1", [Added("a")])
    await stock(store, place, into=into).catch_up()
    with pytest.raises(ProjectionError, match=r"for rebuild\(\) CREATE ON DATABASE postgres") as caught:
        await stock(store, place, into=into).rebuild()
    told(caught.value)
    with pytest.raises(ProjectionError, match="GRANT this user CREATE and USAGE on the schema away"):
        await stock(
            store, place, into=into.replace(place.schema, "away").replace("clerk_away", role)
        ).catch_up()
    place.look(f"GRANT CREATE ON DATABASE postgres TO {role}")
    assert await stock(store, place, into=into).rebuild() == 1


# Rebuilt ------------------------------------------------------------------------------------------------------


async def test_all_that_tables_makes_is_moved(store: EventStore[Any], place: PostgresPlace) -> None:
    def tables(*more: str) -> str:
        return "; ".join([TABLES, "CREATE VIEW many AS SELECT item FROM stock WHERE n > 1", *more])

    log = "CREATE TABLE log (id SERIAL PRIMARY KEY, item TEXT); CREATE SEQUENCE own"
    parts = (
        "CREATE TABLE parts (item TEXT) PARTITION BY LIST (item);"
        "CREATE TABLE part_a PARTITION OF parts FOR VALUES IN ('a')"
    )

    def apply(db: psycopg.Connection, event: StoredEvent[Any]) -> None:
        place.count(db, event)
        db.execute("INSERT INTO log (item) VALUES (%s)", (event.value.item,))

    await store.append("s-1", [Added("a"), Added("a"), Added("b")])
    first = stock(store, place, apply, tables=tables(log, parts, APART))
    await first.catch_up()
    await first.rebuild()
    await store.append("s-1", [Added("a")])
    await first.catch_up()
    assert await first.query("SELECT * FROM log ORDER BY id") == [(1, "a"), (2, "a"), (3, "b"), (4, "a")]
    assert await first.query("SELECT item FROM many") == [("a",)]
    # What the next version doesn't make any more is gone; what others have made is not.
    place.look("CREATE TABLE foreign_to_it (a INTEGER)")
    await stock(store, place, version=2, tables=tables("CREATE TABLE later (a INTEGER)")).rebuild()
    assert place.look("SELECT a FROM later") == []
    await stock(store, place, version=3, tables=tables()).rebuild()
    found = place.look(
        f"SELECT relname::text FROM pg_class WHERE relnamespace = '{place.schema}'::regnamespace"
        " AND relkind <> 'i' ORDER BY 1"
    )
    assert [name for (name,) in found] == ["foreign_to_it", "many", "reactor_projections", "stock"]
    assert place.leftovers() == []


async def test_what_was_granted_stays_so(
    store: EventStore[Any], place: PostgresPlace, postgres: Postgres
) -> None:
    role = f"reader_{place.schema}"
    await store.append("s-1", [Added("a")])
    await stock(store, place, tables=APART + TABLES).catch_up()
    place.look(
        f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'; GRANT USAGE ON SCHEMA {place.schema} TO {role};"
        f'GRANT SELECT (n) ON stock TO {role}; GRANT SELECT, INSERT ON "other" TO {role}'
    )
    await stock(store, place, tables=APART + TABLES).rebuild()
    url = f"postgresql://{role}:s3cret@127.0.0.1:{postgres.port}/postgres?schema={place.schema}"
    reader = PostgresPlace(url)
    assert reader.look("SELECT n FROM stock") == [(1,)]
    assert reader.look("INSERT INTO other VALUES (1) RETURNING a") == [(1,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.look("SELECT item FROM stock")


async def test_who_depends_on_the_old_tables_is_told(store: EventStore[Any], place: PostgresPlace) -> None:
    await store.append("s-1", [Added("a")])
    await stock(store, place).catch_up()
    place.look("CREATE VIEW mine AS SELECT n FROM stock")
    with pytest.raises(ProjectionError, match=r"mine.*drop what depends on the old tables"):
        await stock(store, place).rebuild()
    assert place.look("SELECT n FROM mine") == [(1,)]
    assert place.leftovers() == []


async def test_a_transaction_that_reads_is_waited_for(
    store: EventStore[Any], place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append("s-1", [Added("a")])
    await stock(store, place).catch_up()
    with place.reader() as look:
        assert look("BEGIN; SELECT n FROM stock") == [(1,)]
        monkeypatch.setattr(postgres_tables, "READERS", 0.1)
        with pytest.raises(ProjectionError, match=r"has held the old tables.*see pg_stat_activity"):
            await stock(store, place, version=2).rebuild()
        assert place.leftovers() == []
        monkeypatch.undo()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stock(store, place, version=2).rebuild)
            while not place.look("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"):
                await anyio.lowlevel.checkpoint()
            assert look("SELECT n, (SELECT max(version) FROM reactor_projections) FROM stock") == [(1, 1)]
            look("COMMIT")
        assert look("SELECT n, (SELECT max(version) FROM reactor_projections) FROM stock") == [(1, 2)]


async def test_what_a_killed_rebuild_has_left_goes_with_the_next(
    store: EventStore[Any], place: PostgresPlace
) -> None:
    await store.append("s-1", [Added("a")])
    other = FoldProjection("other", store, int, lambda n, event: n + 1, kind=int, into=place.into)
    await other.catch_up()
    killed, alive = (_tables("stock", 1, TABLES, place.into)().aside() for _ in range(2))
    try:
        killed.position()
        alive.position()
        killed.close()  # without remove()
        assert len(place.leftovers()) == 2
        await other.rebuild()  # not of this one
        assert len(place.leftovers()) == 2
        await stock(store, place).rebuild()
        assert place.leftovers() == [alive.schema]  # type: ignore[attr-defined]
    finally:
        alive.remove()
        alive.close()


async def test_a_switch_that_was_done_without_word_of_it(place: PostgresPlace) -> None:
    tables = _tables("stock", 1, TABLES, place.into)()
    aside = tables.aside()
    try:
        aside.position()
        assert tables.take(aside)
        assert tables.take(aside)  # as after a connection that was lost at its COMMIT
        other = tables.aside()
        assert not tables.take(other)  # which nobody has made
    finally:
        aside.close()
        tables.close()


# The server goes down -----------------------------------------------------------------------------------------


async def test_a_server_that_goes_down_and_comes_back(
    store: EventStore[Any],
    own_postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = PostgresPlace(own_postgres.schema())
    monkeypatch.setattr(projections, "_PAUSE", 0.05)
    monkeypatch.setattr(postgres_tables, "PATIENCE", 0.1)
    async with store, anyio.create_task_group() as tasks:
        await store.append("s-1", [Added("a")])
        tasks.start_soon(stock(store, place).run)
        with anyio.fail_after(20):
            while await stock(store, place).position() < 1:
                await anyio.sleep(0.01)
        await store.append("s-1", [Added("a")] * 600)
        await anyio.to_thread.run_sync(own_postgres.kill)
        try:
            await store.append("s-1", [Added("b")])
            with anyio.fail_after(20):
                while "waiting for its tables" not in caplog.text:
                    await anyio.sleep(0.01)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(own_postgres.start)
        with anyio.fail_after(20):
            while await stock(store, place).position() < 602:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert await stock(store, place).query("SELECT * FROM stock ORDER BY item") == [("a", 601), ("b", 1)]
    assert [record.levelno for record in caplog.records if "waiting" in record.message] == [logging.WARNING]
    assert PASSWORD not in caplog.text


async def test_connections_that_are_cut_in_the_middle(store: EventStore[Any], place: PostgresPlace) -> None:
    cut: list[int] = []

    def apply(db: psycopg.Connection, event: StoredEvent[Any]) -> None:
        place.count(db, event)
        if event.position % 700 == 699 and event.position not in cut:
            cut.append(event.position)
            place.look(f"SELECT pg_terminate_backend({db.info.backend_pid}, 5000)")

    await store.append("s-1", [Added("a")] * 1500)
    assert await stock(store, place, apply).catch_up() == 1500
    assert await stock(store, place).query("SELECT n FROM stock") == [(1500,)]
    cut.clear()
    assert await stock(store, place, apply).rebuild() == 1500
    assert await stock(store, place).query("SELECT n FROM stock") == [(1500,)]
    assert cut == [699, 1399]
    assert place.leftovers() == []


async def test_an_apply_that_stands_still(
    store: EventStore[Any], place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tables, "IDLE", 0.3)
    times: list[int] = []

    def apply(db: psycopg.Connection, event: StoredEvent[Any]) -> None:
        times.append(event.position)
        if len(times) <= still:
            until = time.monotonic() + 20
            there = f"SELECT 1 FROM pg_stat_activity WHERE pid = {db.info.backend_pid}"
            while place.look(there) and time.monotonic() < until:
                time.sleep(0.05)
        place.count(db, event)

    await store.append("s-1", [Added("a")])
    still = 2
    with pytest.raises(ProjectionError, match=r"apply was without a statement for 0\.3 s, twice"):
        await stock(store, place, apply).catch_up()
    times.clear()
    still = 1
    monkeypatch.setattr(postgres_tables, "IDLE", 2)  # the second time it mustn't be over by chance
    assert await stock(store, place, apply).catch_up() == 1
    assert await stock(store, place).query("SELECT n FROM stock") == [(1,)]
