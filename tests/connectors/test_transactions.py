"""Sinks that hold back what they are given until it is decided: the conformance suite, and what is their own."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor.connectors.memory import MemoryLog, forget
from reactor.connectors.sink import HELD, HELD_BYTES
from reactor.connectors.sqlite import SqliteLog
from reactor.core import Fenced, Sink, TopicLocked
from reactor.eventstore import event_store
from reactor.tables import table
from reactor.testing.transactions import Entry, TransactionSuite
from reactor.topics import topic
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.anyio

_numbers = count()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


class _Topics(TransactionSuite):
    url: str

    def make(self) -> Sink[Entry]:
        return topic(self.url, Entry).sink(key=lambda entry: entry.text)

    async def seen(self) -> Sequence[Entry]:
        records = [record async for record in topic(self.url, Entry).records()]
        assert [record.position for record in records] == list(range(len(records)))
        return [record.value for record in records]


class TestSqliteTopic(_Topics):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = f"sqlite:{tmp_path}/shop.db/orders"


class TestMemoryTopic(_Topics):
    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        name = f"transactions{next(_numbers)}"
        self.url = f"memory:{name}/orders"
        yield
        forget(name)


class TestSqliteTable(TransactionSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = f"{tmp_path}/shop.db"

    def make(self) -> Sink[Entry]:
        return table(f"sqlite:{self.path}/entries", Entry, create=True)

    async def seen(self) -> Sequence[Entry]:
        with closing(sqlite3.connect(self.path)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone()
            return (
                [Entry(*row) for row in db.execute("SELECT * FROM entries ORDER BY rowid")] if there else []
            )


class TestSqliteTableWithAKey(TestSqliteTable):
    def make(self) -> Sink[Entry]:
        return table(f"sqlite:{self.path}/entries", Entry, key="text", create=True)


class TestPostgresTable(TransactionSuite):
    @pytest.fixture(autouse=True)
    def _place(self, postgres: Postgres) -> None:
        self.server = postgres
        self.schema = f"transactions{next(_numbers)}"
        postgres.execute(f"CREATE SCHEMA {self.schema}")
        self.url = f"{postgres.url('postgres')}?table=entries&schema={self.schema}"

    def make(self) -> Sink[Entry]:
        return table(self.url, Entry, create=True)

    async def seen(self) -> Sequence[Entry]:
        def look() -> list[Entry]:
            there = f"SELECT 1 FROM pg_tables WHERE schemaname = '{self.schema}' AND tablename = 'entries'"
            if not self.server.execute(there):
                return []
            rows = self.server.execute(f"SELECT number, text FROM {self.schema}.entries ORDER BY ctid")
            return [Entry(*row) for row in rows]  # type: ignore[arg-type]

        return await anyio.to_thread.run_sync(look)


class TestPostgresTableWithAKey(TestPostgresTable):
    def make(self) -> Sink[Entry]:
        return table(self.url, Entry, key="text", create=True)


# Topics -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/shop.db"
    else:
        name = f"transactions{next(_numbers)}"
        yield f"memory:{name}"
        forget(name)


@asynccontextmanager
async def staging(sink: Sink[Any], owner: str = "mine", decided: int = 0) -> AsyncIterator[Sink[Any]]:
    try:
        await sink.open()
        await sink.recover(owner, decided, 1)
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def values(url: str) -> list[Any]:
    return [record.value async for record in topic(url).records()]


async def decide(sink: Sink[Any], number: int) -> None:
    await sink.prepare(number)
    await sink.publish(number)


async def test_an_id_is_stored_once(store: str) -> None:
    orders = topic(f"{store}/orders")
    await orders.publish("a", "b", id=str)
    async with staging(orders.sink(id=str)) as sink:
        await sink.write(["b", "c", "c", "d"])
        await sink.write(["d", "e"])
        await sink.prepare(1)
        await sink.write(["e", "f"])
        await orders.publish("d", id=str)  # by somebody else, in between
        await sink.publish(1)
        await decide(sink, 2)
        await sink.write(["a", "f"])
        await decide(sink, 3)
    assert await values(orders.url) == ["a", "b", "d", "c", "e", "f"]
    assert await orders.publish("c", "f", "g", id=str) == [3, 5, 6]


async def test_what_stands_beside_an_event_is_kept(store: str) -> None:
    orders = topic(f"{store}/orders")
    when = datetime(2030, 1, 2, tzinfo=UTC)
    sink = orders.sink(
        key=lambda event: event[0] if event != "none" else None,
        headers=lambda event: {"of": event} if event != "none" else None,
        time=lambda event: when,
    )
    async with staging(sink) as sink:
        await sink.write(["ä", "none"])
        await decide(sink, 1)
    first, second = [record async for record in orders.records()]
    assert (first.value, first.key, dict(first.headers), first.time) == (
        "ä",
        "ä",
        {"of": "ä"},
        int(when.timestamp()) * 1_000_000,
    )
    assert (second.key, dict(second.headers)) == (None, {})


async def test_who_waits_is_woken_when_it_is_published(store: str) -> None:
    orders = topic(f"{store}/orders")
    source = orders.source(poll=600)
    await source.open()
    try:
        async with staging(orders.sink()) as sink:
            await sink.write(["a", "b"])
            await sink.prepare(1)
            with anyio.move_on_after(0.1) as scope:
                await source.read(10)
            assert scope.cancelled_caught
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sink.publish, 1)
                with anyio.fail_after(10):
                    assert [record.value for record in await source.read(10) or ()] == ["a", "b"]
            await sink.write(["c"])
            await sink.prepare(2)
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(10):
                async with staging(orders.sink(), decided=2):
                    assert [record.value for record in await source.read(10) or ()] == ["c"]
    finally:
        await source.close()


async def test_the_event_store_has_them_where_they_were_published(store: str) -> None:
    orders, mails = topic(f"{store}/orders"), topic(f"{store}/mails")
    async with staging(orders.sink(id=str), "orders") as sink, staging(mails.sink(id=str), "mails") as other:
        await sink.write(["a"])
        await other.write(["x"])
        await sink.prepare(1)
        await other.prepare(1)
        await orders.publish("first", id=str)
        await other.publish(1)
        await sink.publish(1)
        await sink.write(["b"])
        await decide(sink, 2)
    events = await event_store(store).read_all().collect()
    assert [(event.stream, event.version, event.position, event.value) for event in events] == [
        ("orders", 0, 0, "first"),
        ("mails", 0, 1, "x"),
        ("orders", 1, 2, "a"),
        ("orders", 2, 3, "b"),
    ]


async def test_what_is_prepared_under_an_earlier_number_goes_with_a_later_one(store: str) -> None:
    """A sink whose input has ended is asked no more: its events belong to the next checkpoint that is decided."""
    orders = topic(f"{store}/orders")
    async with staging(orders.sink()) as sink:
        await sink.write(["a"])
        await sink.prepare(5)
        await sink.publish(4)
        assert await values(orders.url) == []
        await sink.publish(7)
        assert await values(orders.url) == ["a"]
        await sink.write(["b"])
        await sink.prepare(8)
    async with staging(orders.sink(), decided=9):
        assert await values(orders.url) == ["a", "b"]


async def test_a_number_that_was_never_decided_goes_with_the_next(store: str) -> None:
    orders = topic(f"{store}/orders")
    async with staging(orders.sink()) as sink:
        await sink.write(["a"])
        await sink.prepare(1)
        await sink.write(["b"])
        await decide(sink, 2)
        await sink.publish(1)
        await sink.write(["c"])
        await sink.prepare(3)
        await sink.write(["d"])
        await sink.prepare(4)
    async with staging(orders.sink(), decided=4):
        pass
    assert await values(orders.url) == ["a", "b", "c", "d"]


async def test_an_owner_with_an_older_fence_is_turned_away(store: str) -> None:
    orders = topic(f"{store}/orders")
    old, new = orders.sink(), orders.sink()
    await old.open()
    await new.open()
    try:
        await new.recover("mine", 4, 3)
        await new.write(["a"])
        await new.prepare(5)
        with pytest.raises(Fenced, match="mine"):
            await old.recover("mine", 4, 2)
        await new.publish(5)
        with pytest.raises(RuntimeError, match="after recover"):
            await old.publish(5)
        await old.recover("mine", 5, 3)
        for call in (new.prepare(6), new.publish(5)):
            await call  # it has nothing to say
        await new.write(["b"])
        with pytest.raises(Fenced, match=r"has taken over"):
            await new.prepare(6)
    finally:
        await old.close()
        await new.close()
    assert await values(orders.url) == ["a"]


async def test_rows_that_are_staged_again_take_the_place_of_those_that_stood_there(store: str) -> None:
    """Whoever was cancelled doesn't know whether it was done, and may go on with other events."""

    def entries(*names: str) -> list[Any]:
        return [
            (None, "str", None, None, 0, name if "memory" in store else f'"{name}"'.encode())
            for name in names
        ]

    scheme, _, rest = store.partition(":")
    log = MemoryLog(store, f"{rest}/orders") if scheme == "memory" else SqliteLog(store, rest, "orders")
    await log.open()
    try:
        staging = await log.recover("mine", 0, 0)
        await staging.stage(0, entries("a", "x", "y"))
        await staging.stage(1, entries("b"))
        await staging.prepare(1, 2, entries("x"))
        await staging.prepare(1, 2, [])
        await staging.stage(2, entries("x", "y", "z"))
        await staging.publish(1)
        await staging.stage(2, entries("x", "y", "z"))
        await staging.stage(2, entries("c"))
        await staging.prepare(2, 3, entries("d"))
        await staging.publish(2)
        await staging.publish(2)
    finally:
        await log.close()
    assert await values(f"{store}/orders") == ["a", "b", "c", "d"]


async def test_what_is_dropped_takes_no_room(tmp_path: Path) -> None:
    orders = topic(f"sqlite:{tmp_path}/shop.db/orders")
    async with staging(orders.sink()) as sink:
        await sink.write(["a"] * (HELD + 1))
        await sink.prepare(1)
    async with staging(orders.sink()):
        with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
            assert db.execute("SELECT count(*) FROM staged").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM prepared").fetchone() == (0,)


async def test_a_write_that_was_cancelled_may_be_repeated(store: str) -> None:
    orders = topic(f"{store}/orders")
    large = [str(n) for n in range(HELD + 1)]
    async with staging(orders.sink()) as sink:
        await sink.write(["a"])
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()  # it may be done anyhow
                await sink.write(large)
        await sink.write(large)
        await sink.write(["b"])
        await decide(sink, 1)
    assert await values(orders.url) == ["a", *large, "b"]


async def test_a_write_that_failed_may_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.connectors.sqlite.schema.PATIENCE", 0.05)
    orders = topic(f"sqlite:{tmp_path}/shop.db/orders")
    large = [str(n) for n in range(HELD)]
    async with staging(orders.sink()) as sink:
        await sink.write(["a"])
        with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            for call in (sink.write(large), sink.write(large), sink.prepare(1), sink.prepare(1)):
                with pytest.raises(TopicLocked):
                    await call
            db.execute("ROLLBACK")
        await sink.write(large)
        await sink.prepare(1)
        with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(TopicLocked):
                await sink.publish(1)
            db.execute("ROLLBACK")
        await sink.publish(1)
    assert await values(orders.url) == ["a", *large]


async def test_few_events_are_in_memory(tmp_path: Path) -> None:
    orders = topic(f"sqlite:{tmp_path}/shop.db/orders")

    def staged() -> int:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
            return int(db.execute("SELECT count(*) FROM staged").fetchone()[0])

    async with staging(orders.sink()) as sink:
        for n in range(1, 40):
            await sink.write([n] * 1000)
            assert n * 1000 - staged() <= HELD
        await sink.prepare(1)
        assert staged() == 39_000
        for n in range(1, 20):
            await sink.write(["x" * (HELD_BYTES // 3)])
            assert n - (staged() - 39_000) <= 2
        await decide(sink, 2)
        assert staged() == 0
    assert await orders.length() == 39_019


async def test_without_transactions_a_file_stays_as_it_was(tmp_path: Path) -> None:
    orders = topic(f"sqlite:{tmp_path}/shop.db/orders")

    def tables() -> set[str]:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    sink = orders.sink()
    await sink.open()
    await sink.write(["a"])
    await sink.close()
    before = tables()
    assert not before & {"staged", "stagers", "prepared"}
    async with staging(orders.sink()) as sink:
        await sink.write(["b"])
        await decide(sink, 1)
    assert tables() - before == {"staged", "stagers", "prepared"}
    assert await values(orders.url) == ["a", "b"]


async def test_what_was_staged_for_another_topic_goes_there(tmp_path: Path) -> None:
    old, new = topic(f"sqlite:{tmp_path}/shop.db/old"), topic(f"sqlite:{tmp_path}/shop.db/new")
    async with staging(old.sink()) as sink:
        await sink.write(["a"])
        await sink.prepare(1)
    async with staging(new.sink(), decided=1) as sink:
        await sink.write(["b"])
        await decide(sink, 2)
    assert await values(old.url) == ["a"]
    assert await values(new.url) == ["b"]
