"""The store in PostgreSQL, on a server of the session's own: the conformance suite, and what is its own."""

import logging
import subprocess
import sys
import traceback
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
import psycopg
import pytest

from reactor.core import ArgumentError, TopicCorrupt, TopicError, TopicLocked
from reactor.eventstore import (
    ALL,
    Category,
    EventStore,
    NewEvent,
    StoreUnreachable,
    VersionClash,
    event_store,
    postgres_schema,
)
from reactor.eventstore.postgres import PostgresBackend
from reactor.eventstore.postgres_threads import packed, unpacked
from reactor.eventstore.urls import redacted
from reactor.pipeline import Pipeline
from reactor.testing.stores import Added, Removed, StoreSuite
from tests.servers.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio


class TestPostgres(StoreSuite):
    @pytest.fixture(autouse=True)
    def _place(self, postgres: Postgres) -> None:
        self.url = postgres.schema()

    def make(self, *types: type[Any]) -> EventStore[Any]:
        return event_store(self.url, *types)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.schema()


def schema_of(url: str) -> str:
    return url.rpartition("=")[2]


async def sql(postgres: Postgres, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    """Run it as another program would."""
    return await anyio.to_thread.run_sync(postgres.execute, statement, database)


# Appends ------------------------------------------------------------------------------------------------------


async def test_appends_that_wait_share_a_transaction(postgres: Postgres, url: str) -> None:
    async with event_store(url) as store, anyio.create_task_group() as tasks:
        await store.append("order-0", ["first"])
        for number in range(50):
            tasks.start_soon(store.append, f"order-{number % 7}", [number, number])
    [(count,)] = await sql(postgres, f"SELECT count(DISTINCT xmin::text) FROM {schema_of(url)}.events")
    assert count < 10
    events = await store.read_all().collect()
    assert [event.position for event in events] == list(range(101))


async def test_one_append_that_fails_spoils_none_of_the_others(url: str) -> None:
    outcomes: dict[int, BaseException | int] = {}

    async def append(number: int) -> None:
        try:
            if number % 5 == 1:
                await store.append("order-1", [number], expected_version=99)
            elif number % 5 == 2:
                await store.append("order-1", [NewEvent(number, id=f"nul \0 {number}")])
            elif number % 5 == 3:
                await store.append("order-1", [NewEvent(number, id=token_hex(9000))])
            else:
                outcomes[number] = (await store.append(f"order-{number}", [number])).version
        except Exception as error:
            outcomes[number] = error

    async with event_store(url) as store, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(append, number)
    assert len(outcomes) == 20
    for number, outcome in outcomes.items():
        if number % 5 == 1:
            assert isinstance(outcome, VersionClash)
        elif number % 5 in (2, 3):
            assert isinstance(outcome, ArgumentError), outcome
            assert ("NUL" if number % 5 == 2 else "too long") in str(outcome)
        else:
            assert outcome == 0
    events = await store.read_all().collect()
    assert [event.position for event in events] == list(range(8))
    assert sorted(event.value for event in events) == [0, 4, 5, 9, 10, 14, 15, 19]


async def test_it_waits_for_a_writer_and_tells_of_one_that_does_not_end(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_schema, "PATIENCE", 1)
    async with event_store(url) as store:
        await store.append("order-1", ["a"])
        other = await anyio.to_thread.run_sync(lambda: psycopg.connect(postgres.url("postgres")))
        try:
            await anyio.to_thread.run_sync(
                other.execute, f"LOCK TABLE {schema_of(url)}.writers IN EXCLUSIVE MODE".encode()
            )
            with pytest.raises(TopicLocked, match=r"for more than 1 s.*pg_stat_activity"):
                await store.append("order-1", ["b"])
            # Readers don't wait for writers.
            assert len(await store.read_all().collect()) == 1
            monkeypatch.setattr(postgres_schema, "PATIENCE", 30)
            waits = f"SELECT 1 FROM pg_locks WHERE NOT granted AND relation = '{schema_of(url)}.writers'::regclass"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(event_store(url).append, "order-1", ["c"])
                while not await sql(postgres, waits):
                    await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(other.rollback)
        finally:
            await anyio.to_thread.run_sync(other.close)
        assert [event.value for event in await store.read("order-1").collect()] == ["a", "c"]


async def test_what_is_acknowledged_is_on_the_disk_whatever_the_default(postgres: Postgres) -> None:
    name = await anyio.to_thread.run_sync(postgres.database)
    await sql(postgres, f"ALTER DATABASE {name} SET synchronous_commit = off")
    await sql(postgres, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    backend = PostgresBackend(postgres.url(name))
    await backend.open()
    try:
        for role in (backend._running.reader, backend._running.writer):
            [row] = await role.call(lambda db: db.execute("SHOW synchronous_commit").fetchall())
            assert row == ("on",)
        [row] = await backend._running.writer.call(
            lambda db: db.execute("SHOW transaction_isolation").fetchall()
        )
        assert row == ("read committed",)
    finally:
        with anyio.CancelScope(shield=True):
            await backend.close()


# Reads --------------------------------------------------------------------------------------------------------


async def test_large_events_come_in_small_pages(url: str) -> None:
    store = event_store(url)
    async with store:
        await store.append("order-1", [str(number) * 1_500_000 for number in range(9)])
        for target in (ALL, "order-1", Category("order")):
            forwards = await store._backend.page(target, 0, 100)
            assert [event.position for event in forwards.found] == [0, 1, 2]
            assert forwards.next == 3
            backwards = await store._backend.page(target, 8, 100, backwards=True)
            assert [event.position for event in backwards.found] == [8, 7, 6]
            assert backwards.next == 5
    assert [event.value[0] for event in await event_store(url).read_all().collect()] == list("012345678")


async def test_they_can_be_read_by_people(postgres: Postgres, url: str) -> None:
    event = NewEvent(Added("ä"), "id-1", {"by": "eva"}, "key", 1_000_000)
    await event_store(url, Added).append("order-1", [event])
    query = "SELECT stream, version, type, id, headers::json->>'by', data::json->>'item', time::text"
    [row] = await sql(postgres, f"{query} FROM {schema_of(url)}.readable")
    assert row[:-1] == ("order-1", 0, "Added", "id-1", "eva", "ä")


async def test_damage_is_told(postgres: Postgres, url: str) -> None:
    store = event_store(url)
    await store.append("order-1", ["a", "b", "c"])
    await sql(postgres, f"DELETE FROM {schema_of(url)}.events WHERE version = 1")
    with pytest.raises(TopicCorrupt, match="stream order-1: version 1 is missing"):
        await store.read("order-1").collect()
    for direction in ("forwards", "backwards"):
        with pytest.raises(TopicCorrupt, match="position 1 is missing"):
            await store.read_all(direction=direction).collect()
    with pytest.raises(ArgumentError, match="has positions 0 to 3"):
        await store.subscribe(ALL, 4, group="mail", follow=False).collect()


async def test_a_pipeline_follows_it_and_goes_on_where_it_was(url: str) -> None:
    store = event_store(url, Added, Removed)
    await store.append("order-1", [Added("a"), Removed("a")])
    await store.append("cart-1", [Added("x")])
    seen: list[str] = []
    events = store.subscribe(Category("order"), group="mail", poll=600).map(lambda event: event.value.item)
    items = events.map(seen.append).take(3, volatile=True)
    with anyio.fail_after(20):
        async with store, anyio.create_task_group() as tasks:
            tasks.start_soon(Pipeline("mail", items.to(lambda _: None)).run)
            await store.append("order-2", [Added("b")])
    assert seen == ["a", "a", "b"]
    rest = store.subscribe(Category("order"), group="mail", follow=False)
    assert await rest.collect() == []


async def test_only_those_are_woken_who_wait_for_what_was_written(url: str) -> None:
    rung: list[str] = []
    backend: Any = event_store(url)._backend
    targets: list[Any] = ["order-1", "cart-1", Category("order"), Category("cart"), ALL]
    rings = [lambda target=target: rung.append(str(target)) for target in targets]
    await backend.open()
    store = backend._running
    store._rings += zip(targets, rings, strict=True)
    store.heard(unpacked(packed({"cart-1", "other"})))
    assert sorted(rung) == [str(ALL), "Category(name='cart')", "cart-1"]
    rung.clear()
    store.heard(unpacked(packed({f"{number}" * 1000 for number in range(9)})))  # more than NOTIFY takes
    assert len(rung) == 5
    store._rings.clear()
    await backend.close()


# Where it is --------------------------------------------------------------------------------------------------


def told(error: BaseException, store: EventStore[Any]) -> str:
    """All that can be seen of an error and its store."""
    texts = [str(store), repr(store), store.url, repr(vars(store._backend)), repr(error)]
    seen: BaseException | None = error
    while seen is not None:
        texts += [repr(getattr(seen, "pgconn", None)), *map(repr, seen.args)]
        seen = seen.__cause__
    return "\n".join([*texts, *traceback.format_exception(error)])


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (
            ("/postgres?", "/nowhere?"),
            TopicError,
            'database "nowhere" does not exist; CREATE DATABASE nowhere',
        ),
        (("shop:", "nobody:"), TopicError, "correct user and password in the URL"),
        ((quote(PASSWORD, safe=""), "t0p-wr0ng"), TopicError, "correct user and password in the URL"),
        ((":" + quote(PASSWORD, safe=""), ""), TopicError, "put a password into the URL, PGPASSWORD"),
        (("127.0.0.1:", "127.0.0.1:1"), None, ""),
    ],
)
async def test_what_is_wrong_is_told_and_no_password(
    url: str,
    change: tuple[str, str],
    kind: type[Exception] | None,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    before, after = change
    if kind is None:  # a port where nobody listens
        head, _, tail = url.rpartition("127.0.0.1:")
        changed, kind = f"{head}127.0.0.1:1/{tail.partition('/')[2]}", StoreUnreachable
        words = (
            "no connection to PostgreSQL at 127.0.0.1:1.*refused.*start the server, or correct host and port"
        )
    else:
        assert before in url
        changed = url.replace(before, after)
    store = event_store(changed)
    with pytest.raises(kind, match=words) as caught:
        await store.append("order-1", ["a"])
    assert type(caught.value) is kind
    seen = told(caught.value, store) + caplog.text
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "t0p-wr0ng"):
        assert secret not in seen
    assert "***" in store.url or ":@" in changed or "shop@" in changed


@pytest.mark.parametrize(
    ("version", "words"),
    [(0, "are of version 0, this reactor knows 1; there is no way up"), (9, "9, this .* upgrade reactor")],
)
async def test_tables_of_another_version(postgres: Postgres, url: str, version: int, words: str) -> None:
    await event_store(url).append("order-1", ["a"])
    await sql(postgres, f"UPDATE {schema_of(url)}.store SET version = {version}")
    with pytest.raises(TopicError, match=words):
        await event_store(url).append("order-1", ["b"])
    [(count,)] = await sql(postgres, f"SELECT count(*) FROM {schema_of(url)}.events")
    assert count == 1


async def test_a_schema_with_tables_of_somebody_else(postgres: Postgres, url: str) -> None:
    schema = schema_of(url)
    await sql(postgres, f"CREATE SCHEMA {schema}")
    await sql(postgres, f"CREATE TABLE {schema}.events (id int)")
    with pytest.raises(TopicError, match=r"tables that aren't the store's; choose another \?schema="):
        await event_store(url).append("order-1", ["a"])
    found = await sql(postgres, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    assert found == [("events",)]


async def test_a_database_that_can_not_hold_all_text(postgres: Postgres) -> None:
    await sql(postgres, "DROP DATABASE IF EXISTS latin")
    await sql(
        postgres, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with pytest.raises(TopicError, match="encoding is LATIN1, which can't hold all text"):
        await event_store(postgres.url("latin")).append("order-1", ["a"])


async def test_a_user_without_rights(postgres: Postgres, url: str) -> None:
    await sql(postgres, "DROP ROLE IF EXISTS guest")
    await sql(postgres, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    theirs = url.replace("//shop:", "//guest:")
    with pytest.raises(TopicError, match="permission denied for database postgres; let an owner"):
        await event_store(theirs).append("order-1", ["a"])
    await event_store(url).append("order-1", ["a"])
    with pytest.raises(
        TopicError, match=f"permission denied for schema.*USAGE on the schema {schema_of(url)}"
    ):
        await event_store(theirs).read_all().collect()
    await sql(postgres, f"GRANT USAGE ON SCHEMA {schema_of(url)} TO guest")
    await sql(postgres, f"GRANT ALL ON ALL TABLES IN SCHEMA {schema_of(url)} TO guest")
    await event_store(theirs).append("order-1", ["b"])
    await sql(postgres, f"DROP SCHEMA {schema_of(url)} CASCADE")
    await sql(postgres, "DROP ROLE guest")


async def test_a_read_only_database(postgres: Postgres) -> None:
    name = await anyio.to_thread.run_sync(postgres.database)
    await event_store(postgres.url(name)).append("order-1", ["a"])
    await sql(postgres, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store = event_store(f"{postgres.url(name)}?schema=other")
    with pytest.raises(TopicError, match="this server is a standby, or read-only; name the primary"):
        await store.append("order-1", ["a"])


async def test_stores_in_one_database_know_nothing_of_each_other(postgres: Postgres) -> None:
    name = await anyio.to_thread.run_sync(postgres.database)
    first, second = event_store(postgres.url(name)), event_store(f"{postgres.url(name)}?schema=second")
    await first.append("order-1", ["a"])
    await second.append("order-1", ["b"])
    assert [event.value for event in await first.read_all().collect()] == ["a"]
    assert [event.value for event in await second.read_all().collect()] == ["b"]
    assert await sql(postgres, "SELECT count(*) FROM reactor.events", name) == [(1,)]


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql:",
        "postgresql://",
        "postgresql://shop:t0p-s3cret@localhost",
        "postgresql://shop:t0p-s3cret@localhost/db?nonsense=1",
        "postgresql://shop:t0p-s3cret%zz@localhost/db",
        "postgresql://shop:t0p-s3cret@localhost:port/db?schema=No",
        "postgresql://shop@localhost/db?password=t0p-s3cret&schema=1x",
        "postgres://shop:t0p-s3cret/@:x@localhost/db?schema=" + "x" * 41,
    ],
)
async def test_what_is_no_url(bad: str) -> None:
    with pytest.raises(ArgumentError, match=r"write postgresql://USER|schema=") as caught:
        event_store(bad)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://shop:secret@host/db", "postgresql://shop:***@host/db"),
        ("postgresql://shop:a@b:c/d@host:1/db?x=y", "postgresql://shop:***@host:1/db?x=y"),
        ("postgresql://shop@host/db", "postgresql://shop@host/db"),
        ("postgresql:///db", "postgresql:///db"),
        (
            "postgres://host/db?password=x&sslpassword=y&a=b",
            "postgres://host/db?password=***&sslpassword=***&a=b",
        ),
    ],
)
async def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert redacted(url) == shown


async def test_two_ways_to_write_one_store_have_one_identity(postgres: Postgres) -> None:
    port = postgres.port
    first = PostgresBackend(f"postgresql://a:x@127.0.0.1:{port}/shop?connect_timeout=3")
    second = PostgresBackend(f"postgres://b@127.0.0.1:{port}/shop?schema=reactor")
    assert first.identity == second.identity == f"postgresql://127.0.0.1:{port}/shop?schema=reactor"


@pytest.mark.blocking
async def test_without_psycopg_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from reactor.core import MissingExtra\nfrom reactor.eventstore import event_store\n"
        "event_store('memory:a')\n"
        "try:\n    event_store('postgresql://shop:s3cret@host/db')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith('needs an extra: pip install "reactor-streams[postgres]"')


async def test_snapshots_of_state_survive(url: str) -> None:
    class Basket(msgspec.Struct):
        items: list[str] = []

    await event_store(url, Added).append("cart-1", [Added("a")])
    await event_store(url, Added).save_snapshot("cart-1", Basket(["\0ä"]), 0)
    assert await event_store(url, Added).snapshot("cart-1", Basket) == (Basket(["\0ä"]), 0)


async def test_headers_and_keys_are_any_text(url: str) -> None:
    store = event_store(url)
    await store.append("order-1", [NewEvent({"a": "\0"}, "'; DROP", {"\0": "\0ä\U0001f600"}, "ke\ny")])
    [event] = await store.read("order-1").collect()
    assert event.value == {"a": "\0"}
    assert event.metadata == {"\0": "\0ä\U0001f600"}
    assert (event.id, event.key) == ("'; DROP", "ke\ny")
