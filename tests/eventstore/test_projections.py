"""Projections: rows and position in one transaction, rebuilt beside their readers."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reactor.core import ArgumentError
from reactor.eventstore import (
    Category,
    EventStore,
    FoldProjection,
    Projection,
    ProjectionError,
    StoredEvent,
    event_store,
)
from reactor.eventstore.tables import Tables, statements_of
from reactor.testing.stores import Added, Removed

pytestmark = pytest.mark.anyio

TABLES = """
CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER NOT NULL);  -- a ";" in a comment
CREATE INDEX stock_by_n ON stock (n);
"""
COUNT = "INSERT INTO stock VALUES (?, ?) ON CONFLICT (item) DO UPDATE SET n = n + excluded.n"


def count(db: sqlite3.Connection, event: StoredEvent[Added | Removed]) -> None:
    db.execute(COUNT, (event.value.item, 1 if isinstance(event.value, Added) else -1))


@pytest.fixture
def store(tmp_path: Path) -> EventStore[Added | Removed]:
    return event_store(f"sqlite:{tmp_path}/shop.db", Added, Removed)


def stock(store: EventStore[Any], path: Path, apply: Any = count, **more: Any) -> Projection[Any]:
    return Projection("stock", store, apply, tables=TABLES, into=f"sqlite:{path}/views.db", **more)


async def rows(projection: Projection[Any]) -> dict[str, int]:
    return dict(await projection.query("SELECT item, n FROM stock WHERE n <> ?", 0))


async def test_it_catches_up_and_each_event_counts_once(store: EventStore[Any], tmp_path: Path) -> None:
    projection = stock(store, tmp_path)
    assert await rows(projection) == {}
    await store.append("s-1", [Added("a"), Added("b"), Added("a")])
    assert await projection.catch_up() == 3
    assert await projection.catch_up() == 3
    await store.append("s-2", [Removed("b")])
    assert await stock(store, tmp_path).catch_up() == await projection.position() == 4
    assert await rows(projection) == {"a": 2}


async def test_in_the_file_of_the_store_itself(store: EventStore[Any], tmp_path: Path) -> None:
    await store.append("s-1", [Added("a")])
    projection = Projection("stock", store, count, tables=TABLES, into=f"sqlite:{tmp_path}/shop.db")
    async with store:
        await projection.catch_up()
        await store.append("s-1", [Added("a")])
        await projection.rebuild()
        assert await rows(projection) == {"a": 2}
        await store.append("s-1", [Added("a")])
    assert await projection.catch_up() == 3


async def test_rows_and_position_are_one_transaction(store: EventStore[Any], tmp_path: Path) -> None:
    def stumble(db: sqlite3.Connection, event: StoredEvent[Any]) -> None:
        count(db, event)
        if event.value.item == "bad":
            raise RuntimeError("no")

    await store.append("s-1", [Added("a")])
    await stock(store, tmp_path).catch_up()
    await store.append("s-1", [Added("a"), Added("bad")])
    with pytest.raises(RuntimeError) as caught:
        await stock(store, tmp_path, stumble).catch_up()
    assert "projection stock, Added at position 2 (s-1 version 2)" in caught.value.__notes__
    assert (await rows(stock(store, tmp_path)), await stock(store, tmp_path).position()) == ({"a": 1}, 1)
    await stock(store, tmp_path).catch_up()
    assert await rows(stock(store, tmp_path)) == {"a": 2, "bad": 1}


async def test_an_apply_that_commits_is_told(store: EventStore[Any], tmp_path: Path) -> None:
    await store.append("s-1", [Added("a")])
    with pytest.raises(ProjectionError, match="has ended the transaction; leave COMMIT"):
        await stock(store, tmp_path, lambda db, event: db.execute("COMMIT")).catch_up()
    assert await stock(store, tmp_path).position() == 0


async def test_two_that_run_the_same_count_once(store: EventStore[Any], tmp_path: Path) -> None:
    async with store, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(stock(store, tmp_path).run)
        for number in range(30):
            await store.append(f"s-{number}", [Added("a"), Added("b")])
        with anyio.fail_after(20):
            while await stock(store, tmp_path).position() < 60:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await rows(stock(store, tmp_path)) == {"a": 30, "b": 30}


async def test_a_category(store: EventStore[Any], tmp_path: Path) -> None:
    await store.append("s-1", [Added("a")])
    await store.append("t-1", [Added("b")])
    projection = stock(store, tmp_path, target=Category("s"))
    assert await projection.catch_up() == 2
    assert await rows(projection) == {"a": 1}


async def test_rebuilt_while_the_old_is_read_and_run(store: EventStore[Any], tmp_path: Path) -> None:
    await store.append("s-1", [Added("a"), Added("b")] * 700)
    old = stock(store, tmp_path)
    await old.catch_up()
    seen: list[dict[str, int]] = []
    path = tmp_path / "views.db"

    def slowly(db: sqlite3.Connection, event: StoredEvent[Any]) -> None:
        if event.position % 500 == 0:
            with closing(sqlite3.connect(path)) as reader:
                seen.append(dict(reader.execute("SELECT item, n FROM stock").fetchall()))
        db.execute(COUNT, (event.value.item, 10))

    new = stock(store, tmp_path, slowly, version=2)
    with pytest.raises(
        ProjectionError, match=r"of version 1, this is version 2; await projection.rebuild\(\)"
    ):
        await new.catch_up()
    assert await rows(new) == {"a": 700, "b": 700}
    assert await new.rebuild() == 1400
    assert seen == [{"a": 700, "b": 700}] * 3
    assert await rows(new) == {"a": 7000, "b": 7000}
    assert sorted(found.name for found in tmp_path.iterdir() if "stock" in found.name) == []
    with pytest.raises(ProjectionError, match="of version 2, this is version 1"):
        await old.catch_up()
    await store.append("s-1", [Added("a")])
    assert await new.catch_up() == 1401
    assert await rows(new) == {"a": 7010, "b": 7000}


async def test_rebuilt_beside_one_that_runs(store: EventStore[Any], tmp_path: Path) -> None:
    async with store, anyio.create_task_group() as tasks:
        tasks.start_soon(stock(store, tmp_path).run)
        for _ in range(5):
            await store.append("s-1", [Added("a")] * 20)
            await stock(store, tmp_path).rebuild()
        with anyio.fail_after(20):
            while await stock(store, tmp_path).position() < 100:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await rows(stock(store, tmp_path)) == {"a": 100}


async def test_a_rebuild_that_fails_leaves_the_old(store: EventStore[Any], tmp_path: Path) -> None:
    await store.append("s-1", [Added("a")])
    await stock(store, tmp_path).catch_up()

    def fail(db: sqlite3.Connection, event: StoredEvent[Any]) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await stock(store, tmp_path, fail).rebuild()
    assert await rows(stock(store, tmp_path)) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir() if "stock" in found.name] == []


class Totals(msgspec.Struct):
    n: int = 0
    last: str = ""


def total(state: Totals, event: StoredEvent[Any]) -> Totals:
    return Totals(state.n + 1, event.value.item)


async def test_a_fold_is_kept_with_its_position(store: EventStore[Any], tmp_path: Path) -> None:
    def totals(apply: Any = total, version: int = 1) -> FoldProjection[Totals, Any]:
        into = f"sqlite:{tmp_path}/views.db"
        return FoldProjection("the-totals", store, Totals, apply, kind=Totals, into=into, version=version)

    assert await totals().state() == Totals()
    await store.append("s-1", [Added("a"), Added("b")])
    await totals().catch_up()
    assert await totals().state() == Totals(2, "b")
    await store.append("s-1", [Added("c")])
    assert await totals().catch_up() == 3
    assert await totals().state() == Totals(3, "c")
    again = totals(lambda state, event: Totals(state.n + 2, "new"), version=2)
    await again.rebuild()
    assert await again.state() == Totals(6, "new")


async def test_what_a_projection_refuses(store: EventStore[Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="ALL or a Category"):
        stock(store, tmp_path, target="s-1")
    for wrong in ({"tables": ""}, {"tables": "CREATE TABLE x (a"}, {"into": "views.db"}, {"name": "a b"}):
        given: dict[str, Any] = {"name": "stock", "tables": TABLES, "into": "sqlite:views.db", **wrong}
        if wrong.get("tables") == "CREATE TABLE x (a":
            continue
        with pytest.raises(ArgumentError):
            Projection(given["name"], store, count, tables=given["tables"], into=given["into"])
    broken = Projection("x", store, count, tables="CREATE TABLE x (a", into=f"sqlite:{tmp_path}/views.db")
    with pytest.raises(ProjectionError, match="mend tables="):
        await broken.catch_up()
    await stock(store, tmp_path).catch_up()
    other = Projection("other", store, count, tables=TABLES, into=f"sqlite:{tmp_path}/views.db")
    with pytest.raises(ProjectionError, match="choose another name"):
        await other.catch_up()
    missing = Projection("x", store, count, tables=TABLES, into=f"sqlite:{tmp_path}/none/views.db")
    with pytest.raises(ProjectionError, match="its folder writable"):
        await missing.catch_up()


def test_a_batch_that_was_read_before_another_process_moved_on(tmp_path: Path) -> None:
    def event(position: int) -> StoredEvent[Any]:
        return StoredEvent(Added("a"), "s-1", position, position, "Added", None, None, {}, 0)

    def apply(db: sqlite3.Connection, events: Any) -> None:
        for one in events:
            count(db, one)

    tables = Tables("stock", 1, statements_of(TABLES), str(tmp_path / "views.db"))
    try:
        assert tables.advance([event(0), event(1)], 0, 2, apply) == 2
        # Another one has done the first two of these: only the third counts.
        assert tables.advance([event(0), event(1), event(2)], 0, 3, apply) == 3
        # All of them.
        assert tables.advance([event(0), event(1)], 0, 2, apply) == 3
        # The tables were built anew, up to an earlier place than this one had come to: go on there.
        assert tables.advance([event(7)], 7, 8, apply) == 3
        assert tables.query("SELECT n FROM stock", ()) == [(3,)]
    finally:
        tables.close()
