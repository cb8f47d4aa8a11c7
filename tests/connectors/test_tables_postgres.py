"""A table of PostgreSQL as a sink: what stands in its rows, what it refuses, and what goes wrong."""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import quote
from uuid import UUID

import anyio
import msgspec
import psycopg
import pytest

from reactor import ArgumentError, DeadLetters, Pipeline, Refused, Sink, Stream, TableError, table
from reactor.core import Fenced
from tests.connectors.test_tables import EVERYTHING, Everything, Payment, payments
from tests.servers.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

_numbers = count(1)


class Place:
    """A schema of a test's own."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.schema = f"tables{next(_numbers)}"
        server.execute(f"CREATE SCHEMA {self.schema}")

    def url(self, name: str = "payments", more: str = "") -> str:
        return f"{self.server.url('postgres')}?table={quote(name)}&schema={self.schema}{more}"

    def do(self, *statements: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as db:
            db.execute(f"SET search_path = {self.schema}".encode())
            for statement in statements:
                cursor = db.execute(statement.encode())
                found = cursor.fetchall() if cursor.description else []
        return found

    async def rows(self, *statements: str) -> list[tuple[Any, ...]]:
        return await anyio.to_thread.run_sync(self.do, *statements)


@pytest.fixture
def place(postgres: Postgres) -> Place:
    return Place(postgres)


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[Sink[Any]]:
    try:
        await sink.open()
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def write(sink: Sink[Any], *events: Any) -> None:
    async with opened(sink):
        await sink.write(events)


async def refused(sink: Sink[Any], *events: Any) -> dict[int, str]:
    with pytest.raises(Refused) as caught:
        await sink.write(events)
    return {at: str(error) for at, error in caught.value.errors.items()}


# What stands in the rows ------------------------------------------------------------------------------------

EVERY = {
    "whole": (1 << 62, "bigint"),
    "part": (0.1, "double precision"),
    "text": ("ä'\"; DROP TABLE x", "text"),
    "data": (b"\x00\xff", "bytea"),
    "yes": (True, "boolean"),
    "nothing": (None, "text"),
    "price": (Decimal("0.10"), "numeric"),
    "at": (EVERYTHING.at, "timestamp with time zone"),
    "day": (date(2030, 1, 2), "date"),
    "hour": (time(3, 4), "time without time zone"),
    "took": (timedelta(seconds=90), "interval"),
    "id": (UUID(int=5), "uuid"),
    "colour": ("blue", "text"),
    "level": (2, "bigint"),
    "lines": ([{"id": 1, "amount": "2", "note": None}], "jsonb"),
    "size": ("m", "text"),
    "order": ("o", "text"),
    "either": (2.0, "double precision"),
    "tagged": ("t", "text"),
}


@pytest.mark.parametrize("key", [(), "id"])
@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_every_kind_of_value(place: Place, key: Any, staged: bool) -> None:
    async with opened(table(place.url("every"), Everything, key=key, create=True)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        await sink.write([EVERYTHING])
        if staged:
            await sink.prepare(1)
            await sink.publish(1)
    assert await place.rows("SELECT * FROM every") == [tuple(value for value, _ in EVERY.values())]
    types = await place.rows(
        f"SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '{place.schema}'"
        " AND table_name = 'every' ORDER BY ordinal_position"
    )
    assert types == [(name, type) for name, (_, type) in EVERY.items()]


async def test_a_row_of_the_same_key_takes_the_place(place: Place) -> None:
    sink = table(place.url(), Payment, key="id", create=True)
    await write(sink, Payment(1, Decimal(1)), Payment(2, Decimal(2)), Payment(1, Decimal(3), "last"))
    async with opened(sink):
        await sink.recover("mine", 0, 1)
        await sink.write([Payment(2, Decimal(4)), Payment(3, Decimal(5)), Payment(2, Decimal("6.50"))])
        await sink.write([Payment(3, Decimal(7)), Payment(0, Decimal(0))])
        await sink.prepare(1)
        await sink.publish(1)
    assert await place.rows("SELECT * FROM payments ORDER BY id") == [
        (0, Decimal(0), None),
        (1, Decimal(3), "last"),
        (2, Decimal("6.50"), None),
        (3, Decimal(7), None),
    ]


async def test_a_key_of_all_columns(place: Place) -> None:
    columns = {"id": "id", "who": str}
    sink = table(place.url("seen"), Payment, key=("who", "id"), columns=columns, create=True)
    await write(sink, *payments(1, 2, 1))
    async with opened(sink):
        await sink.recover("mine", 0, 1)
        await sink.write(payments(2, 3, 3))
        await sink.prepare(1)
        await sink.publish(1)
    assert await place.rows("SELECT id FROM seen ORDER BY id") == [(1,), (2,), (3,)]


async def test_columns_of_other_types_and_columns_that_are_not_written(place: Place) -> None:
    place.do(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN small AS int CHECK (VALUE < 10)",
        "CREATE TABLE payments (n int GENERATED ALWAYS AS IDENTITY, seen bool NOT NULL DEFAULT false,"
        " note mood, amount numeric(6, 2), id small UNIQUE, name char(3),"
        " twice int GENERATED ALWAYS AS (id * 2) STORED)",
    )
    columns: Any = {"id": "id", "amount": "amount", "note": "note", "name": lambda p: "ab"}
    for key in ((), "id"):
        for staged in (False, True):
            async with opened(table(place.url(), Payment, columns=columns, key=key)) as sink:
                if staged:
                    await sink.recover("mine", 0, 1)
                await sink.write([Payment(3, Decimal("1.005"), "good"), Payment(4, Decimal(1))])
                if staged:
                    await sink.prepare(1)
                    await sink.publish(1)
                found = await refused(
                    sink,
                    Payment(5, Decimal(1), "sad"),
                    Payment(6, Decimal(10000), "bad"),
                    Payment(7, Decimal(1), "bad"),
                    Payment(10, Decimal(1), "bad"),
                )
                assert sorted(found) == [0, 1, 3]
                assert "mood" in found[0]
                assert "overflow" in found[1]
                assert "small" in found[3]
            assert await place.rows(
                "SELECT id, amount, note::text, name, seen, twice FROM payments ORDER BY id"
            ) == [(3, Decimal("1.01"), "good", "ab ", False, 6), (4, Decimal("1.00"), None, "ab ", False, 8)]
            if not key:
                place.do("DELETE FROM payments")


async def test_times_without_a_zone(place: Place) -> None:
    class Moment(msgspec.Struct):
        zoned: datetime
        plain: datetime

    place.do("CREATE TABLE moments (zoned timestamptz, plain timestamp)")
    noon = datetime(2030, 6, 1, 12)  # noqa: DTZ001
    place.server.execute("ALTER ROLE shop SET timezone = 'America/New_York'")
    try:
        sink = table(place.url("moments"), Moment)
        await write(sink, Moment(noon, noon), Moment(noon.replace(tzinfo=UTC), noon.replace(tzinfo=UTC)))
    finally:
        place.server.execute("ALTER ROLE shop RESET timezone")
    assert await place.rows("SELECT * FROM moments") == [(noon.replace(tzinfo=UTC), noon)] * 2


async def test_names_are_only_names(place: Place) -> None:
    name = 'pay"; DROP TABLE other; --%s'
    column = "a\" INTEGER); DROP TABLE other; --'[`%s"
    place.do("CREATE TABLE other (a int)")
    columns = {column: "id", "select": "note", "{}": "id"}
    for key in ((), column):
        async with opened(table(place.url(name), Payment, key=key, columns=columns, create=True)) as sink:
            await sink.write(payments(1))
            await sink.recover('it\'s "mine"; DROP TABLE other %s', 0, 1)
            await sink.write(payments(2))
            await sink.prepare(1)
            await sink.publish(1)
        quoted = name.replace('"', '""')
        assert await place.rows(f'SELECT * FROM "{quoted}"') == [(1, None, 1), (2, None, 2)]
        place.do(f'DROP TABLE "{quoted}"')
    assert await place.rows("SELECT count(*) FROM other") == [(0,)]


async def test_without_a_schema_it_is_where_the_user_looks(place: Place) -> None:
    url = place.url().replace(f"&schema={place.schema}", "")
    path = quote(f"-c search_path={place.schema},public")
    await write(table(f"{url}&options={path}", Payment, create=True), *payments(1))
    assert await place.rows("SELECT id FROM payments") == [(1,)]


# What it refuses --------------------------------------------------------------------------------------------

CONSTRAINTS = (
    "CREATE TABLE payments (id int UNIQUE, amount numeric, note varchar(5) NOT NULL CHECK (note <> 'bad'))"
)


@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_events_that_break_a_constraint_are_named(place: Place, staged: bool) -> None:
    place.do(CONSTRAINTS)
    async with opened(table(place.url(), Payment)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        events = [Payment(n, Decimal(1), "good") for n in range(100)]
        await sink.write(events[:1])
        if staged:
            await sink.prepare(1)
            await sink.publish(1)
        events[7].note = None
        events[30].note = "longer"
        events[50].note = events[99].note = "bad"
        events[20].id = 10
        events[21].id = 1 << 40
        events[22].note = "a\0b"
        events[23].note = "\ud800"
        found = await refused(sink, *events)
        for at, what in {
            0: "unique",
            7: "null value",
            20: "unique",
            21: "out of range",
            22: "NUL",
            23: "surrogates",
            30: "too long",
            50: "check constraint",
            99: "check constraint",
        }.items():
            assert what in found.pop(at)
        assert not found
        assert await place.rows("SELECT count(*) FROM payments") == [(1,)]
        good = [event for at, event in enumerate(events) if at not in (0, 7, 20, 21, 22, 23, 30, 50, 99)]
        await sink.write(good)
        if staged:
            await sink.prepare(2)
            await sink.publish(2)
        assert await place.rows("SELECT count(*) FROM payments") == [(92,)]


async def test_what_is_staged_is_held_to_the_constraints_of_its_columns(place: Place) -> None:
    place.do(
        "CREATE TABLE payments (id int NOT NULL CHECK (id > 0), amount numeric, note varchar(5) DEFAULT 'x',"
        " seen bool NOT NULL DEFAULT false, CHECK (amount < id), CHECK (seen OR id < 100))"
    )
    columns: Any = {"id": "id", "amount": "amount"}
    async with opened(table(place.url(), Payment, columns=columns)) as sink:
        await sink.recover("mine", 0, 1)
        events = [Payment(id, Decimal(amount)) for id, amount in ((5, 1), (-1, -2), (5, 5), (6, 1))]
        found = await refused(sink, *events)
        assert sorted(found) == [1, 2]
        await sink.write([events[0], events[3]])
        await sink.prepare(1)
        await sink.publish(1)
    assert await place.rows("SELECT id FROM payments ORDER BY id") == [(5,), (6,)]


@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_what_a_trigger_refuses_is_named(place: Place, staged: bool) -> None:
    place.do(
        "CREATE TABLE payments (id int PRIMARY KEY, amount numeric, note text)",
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.id = 3 THEN RAISE 'not three'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION no()",
    )
    async with opened(table(place.url(), Payment, key="id")) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        found = await refused(sink, *payments(1, 2, 3, 4))
        assert list(found) == [2]
        assert "not three" in found[2]


async def test_rows_of_two_writes_that_contradict_each_other_are_never_decided(place: Place) -> None:
    place.do("CREATE TABLE payments (id int PRIMARY KEY, amount numeric, note text)")
    async with opened(table(place.url(), Payment)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await sink.write(payments(1))
        with pytest.raises(TableError, match=r"contradict each other: duplicate key.*key="):
            await sink.prepare(1)
    assert await place.rows("SELECT * FROM payments") == []


async def test_in_a_pipeline_the_bad_ones_become_dead_letters(place: Place) -> None:
    place.do("CREATE TABLE payments (id int PRIMARY KEY, amount numeric, note text CHECK (note <> 'bad'))")
    events = [Payment(n, Decimal(1), "bad" if n in (3, 77) else None) for n in range(200)]
    dead: list[Any] = []
    stream = Stream(events).to(table(place.url(), Payment, key="id"), on_error=DeadLetters())
    await Pipeline("pay", stream, dead_letters=dead.append).run()
    assert [letter.event.id for letter in dead] == [3, 77]
    assert await place.rows("SELECT count(*) FROM payments") == [(198,)]


# What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://shop:hunter2@localhost/db", "table=NAME"),
        ("postgresql://shop:hunter2@localhost/db/payments", "table=NAME"),
        ("postgresql://shop:hunter2@localhost?table=payments", "table=NAME"),
        ("postgresql://shop:hunter2@localhost/?table=payments", "table=NAME"),
        ("postgresql:shop.db/payments", "table=NAME"),
        ("postgresql://shop:hunter2@localhost/db?table=", "is no name for a table"),
        ("postgresql://shop:hunter2@localhost/db?table=a&table=b", "table=NAME"),
        ("postgresql://shop:hunter2@localhost/db?table=a&schema=b&schema=c", "two schemas"),
        ("postgresql://shop:hunter2@localhost/db?table=a&schema=", "is no name for a schema"),
        ("postgresql://shop:hunter2@localhost/db?table=reactor_stagers", "can't begin with reactor_"),
        ("postgresql://shop:hunter2@localhost/db?table=a&nonsense=1", "isn't a URL as libpq has it"),
        ("postgresql://shop:hunt/er2@localhost/db?table=a", "postgresql://USER"),
        ("postgresql://shop@localhost/db?table=a&password=hunter2&x=1", "isn't a URL as libpq has it"),
        ("mysql://shop:hunter2@localhost/db?table=a", "unknown scheme"),
    ],
)
async def test_urls_that_cannot_be(url: str, what: str) -> None:
    with pytest.raises(ArgumentError, match=what) as caught:
        table(url, Payment)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("hunter2", "hunt", "er2"):
        assert secret not in shown


async def fails(sink: Sink[Any], what: str, *events: Any) -> str:
    with pytest.raises(TableError, match=what) as caught:
        await write(sink, *events)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in shown
    return str(caught.value)


async def test_what_is_not_there(place: Place) -> None:
    place.do("CREATE TABLE payments (id int, amount numeric)")
    await fails(
        table(place.url("paid"), Payment), f"there is no such table in the schema {place.schema}; pass create"
    )
    await fails(table(place.url(), Payment), "has no column note; it has id, amount: add it")
    columns = {"id": "id", "amount": "amount"}
    sink = table(place.url(), Payment, columns=columns, key="id")
    await fails(sink, r"key=\('id',\) has no unique index; make one: CREATE UNIQUE INDEX ON")
    nowhere = place.url().replace(f"schema={place.schema}", "schema=nowhere")
    await fails(table(nowhere, Payment, create=True), 'schema "nowhere" does not exist')
    await fails(
        table(place.url().replace("/postgres?", "/nowhere?"), Payment), 'database "nowhere" does not exist'
    )


async def test_a_server_that_lets_nobody_in(place: Place) -> None:
    wrong = place.url().replace(quote(PASSWORD, safe=""), "not-the-word")
    message = await fails(table(wrong, Payment), "password authentication failed")
    assert "not-the-word" not in message
    assert "shop:***@" in message
    with pytest.raises(TableError) as caught:
        await write(table(wrong, Payment))
    assert caught.value.__cause__ is None, "psycopg's error has the connection's settings, password included"
    nobody = place.url().replace(f":{place.server.port}/", ":1/")
    await fails(table(nobody, Payment), "port 1 failed")


async def test_a_user_who_may_not(place: Place) -> None:
    place.do("CREATE TABLE payments (id int, amount numeric, note text)")
    place.server.execute(f"CREATE ROLE guest{place.schema} LOGIN PASSWORD 'guest'")
    place.do(f"GRANT USAGE ON SCHEMA {place.schema} TO guest{place.schema}")
    url = place.url().replace(f"shop:{quote(PASSWORD, safe='')}", f"guest{place.schema}:guest")
    await fails(table(url, Payment), "permission denied for table payments; GRANT it")
    place.do(f"GRANT INSERT ON payments TO guest{place.schema}")
    async with opened(table(url, Payment)) as sink:
        await sink.write(payments(1))
        with pytest.raises(TableError, match=r"permission denied for schema .*needs CREATE"):
            await sink.recover("mine", 0, 1)


@pytest.mark.parametrize("key", [(), "id"])
@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_a_connection_that_was_cut_is_made_anew(place: Place, key: Any, staged: bool) -> None:
    kill = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = %s"

    def cut() -> None:
        with psycopg.connect(place.server.url("postgres"), autocommit=True) as db:
            assert db.execute(kill, (place.schema,)).fetchall() == [(True,)]

    url = place.url(more=f"&application_name={place.schema}")
    async with opened(table(url, Payment, key=key, create=True)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await anyio.to_thread.run_sync(cut)
        await sink.write(payments(2))
        if staged:
            await anyio.to_thread.run_sync(cut)
            await sink.prepare(1)
            await anyio.to_thread.run_sync(cut)
            await sink.publish(1)
    assert await place.rows("SELECT id FROM payments ORDER BY id") == [(1,), (2,)]


async def test_a_server_that_goes_and_comes_back(own_postgres: Postgres) -> None:
    place = Place(own_postgres)
    async with opened(table(place.url(), Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await anyio.to_thread.run_sync(place.server.kill)
        try:
            with pytest.raises(TableError, match="the connection is lost"):
                await sink.write(payments(2))
        finally:
            await anyio.to_thread.run_sync(place.server.start)
        # What wasn't prepared needn't have been durable. Then nothing is published, rather than a part.
        gone = await place.rows(f"SELECT 1 FROM {await staged_in(place)}") == []
        if gone:
            for call in (sink.write(payments(2)), sink.prepare(1)):
                with pytest.raises(TableError, match="has crashed, and rows that were staged"):
                    await call
            await sink.recover("mine", 0, 1)
            await sink.write(payments(1))
        await sink.write(payments(2))
        await sink.prepare(1)
        await anyio.to_thread.run_sync(place.server.kill)
        await anyio.to_thread.run_sync(place.server.start)
        await sink.write(payments(3))
        await sink.publish(1)
        await sink.prepare(2)
        await sink.publish(2)
    assert await place.rows("SELECT id FROM payments ORDER BY id") == [(1,), (2,), (3,)]


async def staged_in(place: Place) -> str:
    query = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'reactor_staged%'"
    ((name,),) = await place.rows(f"{query} AND schemaname = '{place.schema}'")
    return str(name)


async def test_staged_rows_that_are_gone_are_missed(place: Place) -> None:
    async with opened(table(place.url(), Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await sink.prepare(1)
        await sink.publish(1)
        await sink.write(payments(2, 3))
        # As a crash does it to transactions that nobody has waited for.
        await place.rows(f"DELETE FROM {await staged_in(place)}")
        for call in (sink.write(payments(4)), sink.prepare(2)):
            with pytest.raises(TableError, match="has crashed, and rows that were staged"):
                await call
    assert await place.rows("SELECT id FROM payments ORDER BY id") == [(1,)]


async def test_a_lock_that_is_held_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "reactor.connectors.tables.postgres_server._SETTINGS",
        "SELECT set_config('lock_timeout', '50ms', false)",
    )
    async with opened(table(place.url(), Payment, create=True)) as sink:
        db = await anyio.to_thread.run_sync(psycopg.connect, place.server.url("postgres"))
        try:
            lock = f"LOCK TABLE {place.schema}.payments IN ACCESS EXCLUSIVE MODE".encode()
            await anyio.to_thread.run_sync(db.execute, lock)
            with pytest.raises(TableError, match="another session has held a lock"):
                await sink.write(payments(1))
        finally:
            await anyio.to_thread.run_sync(db.rollback)  # close() doesn't wait until the server has let go
            await anyio.to_thread.run_sync(db.close)
        await sink.write(payments(1))
    assert await place.rows("SELECT id FROM payments") == [(1,)]


# Staged rows ------------------------------------------------------------------------------------------------


async def test_what_was_staged_by_an_earlier_version_goes_where_that_one_meant_it(place: Place) -> None:
    async with opened(table(place.url(), Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1, 2))
        await sink.prepare(3)
    place.do("CREATE TABLE paid (number int PRIMARY KEY)")
    async with opened(table(place.url("paid"), Payment, columns={"number": "id"}, key="number")) as sink:
        await sink.recover("mine", 3, 1)
        await sink.write(payments(4, 4))
        await sink.prepare(4)
        await sink.publish(4)
    assert await place.rows("SELECT id FROM payments") == [(1,), (2,)]
    assert await place.rows("SELECT number FROM paid") == [(4,)]


async def test_decided_rows_that_no_longer_fit_are_kept_until_the_table_is_mended(place: Place) -> None:
    place.do("CREATE TABLE payments (id int PRIMARY KEY, amount numeric, note text)")
    async with opened(table(place.url(), Payment)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1, 2))
        await sink.prepare(1)
    place.do("INSERT INTO payments VALUES (2)")
    for _ in range(2):
        async with opened(table(place.url(), Payment)) as sink:
            with pytest.raises(TableError, match="duplicate key"):
                await sink.recover("mine", 1, 1)
    place.do("DELETE FROM payments")
    async with opened(table(place.url(), Payment)) as sink:
        await sink.recover("mine", 1, 1)
    assert await place.rows("SELECT id FROM payments") == [(1,), (2,)]


async def test_owners_that_begin_at_once(place: Place) -> None:
    async def one(n: int) -> None:
        async with opened(table(place.url(), Payment, create=True)) as sink:
            await sink.recover(f"owner {n}", 0, 1)
            await sink.write(payments(n))
            await sink.prepare(1)
            await sink.publish(1)

    async with anyio.create_task_group() as tasks:
        for n in range(8):
            tasks.start_soon(one, n)
    assert await place.rows("SELECT id FROM payments ORDER BY id") == [(n,) for n in range(8)]


async def test_a_process_that_stands_still_in_a_transaction_does_not_hold_up_the_next(place: Place) -> None:
    """A zombie stages; who recovers waits for it, and then nothing of it is left."""
    async with (
        opened(table(place.url(), Payment, create=True)) as zombie,
        opened(table(place.url(), Payment)) as sink,
    ):
        await zombie.recover("mine", 0, 1)
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(stubborn, zombie, n)
            tasks.start_soon(sink.recover, "mine", 0, 1)
        await sink.write(payments(100))
        await sink.prepare(1)
        await sink.publish(1)
    assert await place.rows("SELECT id FROM payments") == [(100,)]


async def stubborn(zombie: Sink[Any], n: int) -> None:
    try:
        await zombie.write(payments(n))
    except Fenced:
        pass
