"""Projections, in SQLite and in PostgreSQL: rows and position in one transaction, rebuilt beside their readers."""

import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
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
from reactor.eventstore.projections import _tables
from reactor.testing.stores import Added, Removed
from tests.eventstore.places import Place

pytestmark = pytest.mark.anyio

TABLES = """
CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER NOT NULL);  -- a ";" in a comment
CREATE INDEX stock_by_n ON stock (n);
"""


@pytest.fixture
def store(tmp_path: Path) -> EventStore[Added | Removed]:
    return event_store(f"sqlite:{tmp_path}/shop.db", Added, Removed)


def stock(store: EventStore[Any], place: Place, apply: Any = None, **more: Any) -> Projection[Any]:
    return Projection("stock", store, apply or place.count, tables=TABLES, into=place.into, **more)


async def rows(projection: Projection[Any]) -> dict[str, int]:
    return dict(await projection.query("SELECT item, n FROM stock WHERE n <> 0"))


async def test_it_catches_up_and_each_event_counts_once(store: EventStore[Any], place: Place) -> None:
    projection = stock(store, place)
    assert await rows(projection) == {}
    await store.append("s-1", [Added("a"), Added("b"), Added("a")])
    assert await projection.catch_up() == 3
    assert await projection.catch_up() == 3
    assert await projection.query(f"SELECT n FROM stock WHERE item = {place.mark}", "b") == [(1,)]
    await store.append("s-2", [Removed("b")])
    assert await stock(store, place).catch_up() == await projection.position() == 4
    assert await rows(projection) == {"a": 2}


async def test_where_the_store_itself_is(place: Place) -> None:
    store = event_store(place.into, Added, Removed)
    await store.append("s-1", [Added("a")])
    projection = stock(store, place)
    async with store:
        await projection.catch_up()
        await store.append("s-1", [Added("a")])
        await projection.rebuild()
        assert await rows(projection) == {"a": 2}
        await store.append("s-1", [Added("a")])
    assert await projection.catch_up() == 3


async def test_rows_and_position_are_one_transaction(store: EventStore[Any], place: Place) -> None:
    def stumble(db: Any, event: StoredEvent[Any]) -> None:
        place.count(db, event)
        if event.value.item == "bad":
            raise RuntimeError("no")

    await store.append("s-1", [Added("a")])
    await stock(store, place).catch_up()
    await store.append("s-1", [Added("a"), Added("bad")])
    with pytest.raises(RuntimeError) as caught:
        await stock(store, place, stumble).catch_up()
    assert "projection stock, Added at position 2 (s-1 version 2)" in caught.value.__notes__
    assert (await rows(stock(store, place)), await stock(store, place).position()) == ({"a": 1}, 1)
    await stock(store, place).catch_up()
    assert await rows(stock(store, place)) == {"a": 2, "bad": 1}


async def test_an_apply_that_commits_is_told(store: EventStore[Any], place: Place) -> None:
    await store.append("s-1", [Added("a")])
    with pytest.raises(ProjectionError, match="has ended the transaction; leave COMMIT"):
        await stock(store, place, lambda db, event: db.execute("COMMIT")).catch_up()
    assert await stock(store, place).position() == 0


async def test_two_that_run_the_same_count_once(store: EventStore[Any], place: Place) -> None:
    async with store, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(stock(store, place).run)
        for number in range(30):
            await store.append(f"s-{number}", [Added("a"), Added("b")])
        with anyio.fail_after(20):
            while await stock(store, place).position() < 60:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await rows(stock(store, place)) == {"a": 30, "b": 30}


async def test_a_category(store: EventStore[Any], place: Place) -> None:
    await store.append("s-1", [Added("a")])
    await store.append("t-1", [Added("b")])
    projection = stock(store, place, target=Category("s"))
    assert await projection.catch_up() == 2
    assert await rows(projection) == {"a": 1}


async def test_rebuilt_while_the_old_is_read_and_run(store: EventStore[Any], place: Place) -> None:
    await store.append("s-1", [Added("a"), Added("b")] * 700)
    old = stock(store, place)
    await old.catch_up()
    seen: list[dict[str, int]] = []

    def slowly(db: Any, event: StoredEvent[Any]) -> None:
        if event.position % 500 == 0:
            seen.append(dict(place.look("SELECT item, n FROM stock")))
        place.add(db, event.value.item, 10)

    new = stock(store, place, slowly, version=2)
    with pytest.raises(
        ProjectionError, match=r"of version 1, this is version 2; await projection.rebuild\(\)"
    ):
        await new.catch_up()
    assert await rows(new) == {"a": 700, "b": 700}
    assert await new.rebuild() == 1400
    assert seen == [{"a": 700, "b": 700}] * 3
    assert await rows(new) == {"a": 7000, "b": 7000}
    assert place.leftovers() == []
    with pytest.raises(ProjectionError, match="of version 2, this is version 1"):
        await old.catch_up()
    await store.append("s-1", [Added("a")])
    assert await new.catch_up() == 1401
    assert await rows(new) == {"a": 7010, "b": 7000}


async def test_rebuilt_beside_one_that_runs(store: EventStore[Any], place: Place) -> None:
    async with store, anyio.create_task_group() as tasks:
        tasks.start_soon(stock(store, place).run)
        for _ in range(5):
            await store.append("s-1", [Added("a")] * 20)
            await stock(store, place).rebuild()
        with anyio.fail_after(20):
            while await stock(store, place).position() < 100:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await rows(stock(store, place)) == {"a": 100}


async def test_a_rebuild_that_fails_leaves_the_old(store: EventStore[Any], place: Place) -> None:
    await store.append("s-1", [Added("a")])
    await stock(store, place).catch_up()

    def fail(db: Any, event: StoredEvent[Any]) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await stock(store, place, fail).rebuild()
    assert await rows(stock(store, place)) == {"a": 1}
    assert place.leftovers() == []


class Totals(msgspec.Struct):
    n: int = 0
    last: str = ""


def total(state: Totals, event: StoredEvent[Any]) -> Totals:
    return Totals(state.n + 1, event.value.item)


async def test_a_fold_is_kept_with_its_position(store: EventStore[Any], place: Place) -> None:
    def totals(apply: Any = total, version: int = 1) -> FoldProjection[Totals, Any]:
        return FoldProjection(
            "the-totals", store, Totals, apply, kind=Totals, into=place.into, version=version
        )

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


async def test_what_a_projection_refuses(store: EventStore[Any], place: Place) -> None:
    with pytest.raises(ArgumentError, match="ALL or a Category"):
        stock(store, place, target="s-1")
    for wrong in ({"tables": ""}, {"tables": " ;\n"}, {"into": "views.db"}, {"into": None}, {"name": "a b"}):
        given: dict[str, Any] = {"name": "stock", "tables": TABLES, "into": place.into, **wrong}
        with pytest.raises(ArgumentError):
            Projection(given["name"], store, place.count, tables=given["tables"], into=given["into"])
    broken = Projection("x", store, place.count, tables="CREATE TABLE x (a", into=place.into)
    with pytest.raises(ProjectionError, match="mend tables="):
        await broken.catch_up()
    await stock(store, place).catch_up()
    other = Projection("other", store, place.count, tables=TABLES, into=place.into)
    with pytest.raises(ProjectionError, match="choose another name"):
        await other.catch_up()
    with pytest.raises(ProjectionError, match="choose another name"):
        await other.rebuild()
    assert place.leftovers() == []
    assert await rows(stock(store, place)) == {}


async def test_a_file_that_can_not_be_opened(store: EventStore[Any], tmp_path: Path) -> None:
    into = f"sqlite:{tmp_path}/none/views.db"
    with pytest.raises(ProjectionError, match="its folder writable"):
        await Projection("x", store, lambda db, event: None, tables=TABLES, into=into).catch_up()


async def test_readers_see_the_old_or_the_new(store: EventStore[Any], place: Place) -> None:
    await store.append("s-1", [Added("a"), Added("b")] * 50)
    await stock(store, place).catch_up()
    seen: list[list[tuple[Any, ...]]] = []
    ended = threading.Event()

    def read() -> None:
        with place.reader() as look:
            while not ended.is_set():
                seen.append(look("SELECT item, n FROM stock ORDER BY item"))

    def more(db: Any, event: StoredEvent[Any]) -> None:
        place.add(db, event.value.item, 2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, read)
        try:
            for version in range(2, 7):
                await stock(
                    store, place, more if version % 2 == 0 else place.count, version=version
                ).rebuild()
        finally:
            ended.set()
    once, twice = [("a", 50), ("b", 50)], [("a", 100), ("b", 100)]
    assert all(one in (once, twice) for one in seen)
    assert once in seen
    assert twice in seen


def test_a_batch_that_was_read_before_another_process_moved_on(place: Place) -> None:
    def event(position: int) -> StoredEvent[Any]:
        return StoredEvent(Added("a"), "s-1", position, position, "Added", None, None, {}, 0)

    def apply(db: Any, events: Any) -> None:
        for one in events:
            place.count(db, one)

    tables = _tables("stock", 1, TABLES, place.into)()
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
