"""The stores of the house pass the conformance suite; a stream is a topic, and a topic a stream."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor.connectors.memory import forget
from reactor.core import ArgumentError, DecodeError
from reactor.eventstore import ALL, Category, EventStore, NewEvent, event_store
from reactor.pipeline import Pipeline
from reactor.testing.stores import Added, Removed, StoreSuite
from reactor.topics import topic

pytestmark = pytest.mark.anyio

_numbers = itertools.count()


class TestSqlite(StoreSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "shop.db"

    def make(self, *types: type[Any]) -> EventStore[Any]:
        return event_store(f"sqlite:{self.path}", *types)


class TestMemory(StoreSuite):
    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        self.name = f"shop{next(_numbers)}"
        yield
        forget(self.name)

    def make(self, *types: type[Any]) -> EventStore[Any]:
        return event_store(f"memory:{self.name}", *types)


@pytest.fixture(params=["sqlite", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/shop.db"
    else:
        name = f"shop{next(_numbers)}"
        yield f"memory:{name}"
        forget(name)


async def test_a_stream_is_a_topic_and_a_topic_a_stream(url: str) -> None:
    store = event_store(url, Added)
    orders = topic(f"{url}/orders", Added)
    await store.append("orders", [NewEvent(Added("a"), "id-a", {"by": "eva"})])
    await orders.publish(Added("b"), id="id-b", headers={"by": "ann"})
    await orders.publish(Added("a again"), id="id-a")
    await topic(f"{url}/other", Added).publish(Added("c"))
    assert [record.value.item async for record in orders.records()] == ["a", "b"]
    events = await store.read_all().collect()
    assert [(event.stream, event.version, event.position, event.value.item) for event in events] == [
        ("orders", 0, 0, "a"),
        ("orders", 1, 1, "b"),
        ("other", 0, 2, "c"),
    ]
    assert [(event.id, dict(event.metadata)) for event in events] == [
        ("id-a", {"by": "eva"}),
        ("id-b", {"by": "ann"}),
        (None, {}),
    ]
    assert (await store.append("orders", [NewEvent(Added("b"), "id-b")], expected_version=0)).repeated


async def test_a_publisher_of_a_topic_wakes_a_subscription_to_all(url: str) -> None:
    store = event_store(url, Added)
    source = store.source(ALL, poll=600)
    await source.open()
    try:
        await topic(f"{url}/orders", Added).publish(Added("a"))
        records = await source.read(10)
        assert records is not None
        assert [record.value.stream for record in records] == ["orders"]
    finally:
        await source.close()


async def test_it_feeds_a_pipeline_whose_group_is_committed(url: str) -> None:
    store = event_store(url, Added, Removed)
    await store.append("order-1", [Added("a"), Removed("a")])
    await store.append("cart-1", [Added("x")])
    seen: list[str] = []

    async def run() -> list[str]:
        seen.clear()
        events = store.subscribe(Category("order"), group="mail", follow=False)
        items = events.map(lambda event: f"{event.stream} {event.version} {event.value.item}")
        await Pipeline("mail", items.to(seen.append)).run()
        return list(seen)

    assert await run() == ["order-1 0 a", "order-1 1 a"]
    assert await run() == []
    await store.append("order-2", [Added("b")])
    assert await run() == ["order-2 0 b"]


async def test_a_record_that_does_not_fit_goes_to_the_dead_letters(url: str) -> None:
    await event_store(url).append("order-1", [Added("a"), Removed("b"), Added("c")])
    dead: list[Any] = []
    seen: list[Any] = []
    events = event_store(url, Added).subscribe("order-1", follow=False).map(lambda event: event.value.item)
    await Pipeline("mail", events.to(seen.append), dead_letters=dead.append).run()
    assert seen == ["a", "c"]
    assert len(dead) == 1
    with pytest.raises(DecodeError, match="Removed is none of Added"):
        await event_store(url, Added).subscribe("order-1", follow=False).collect()


@pytest.mark.parametrize("url", ["", "shop.db", "sqlite:", "memory:", "memory:/a", "kafka:x", "sqlite:a/", 3])
async def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(ArgumentError, match=r"write sqlite:PATH|without a slash"):
        event_store(url)


async def test_without_types_events_are_plain_values(tmp_path: Path) -> None:
    store = event_store(f"sqlite:{tmp_path}/shop.db")
    await store.append("order-1", [Added("a"), {"b": [1]}, "c"])
    assert [event.value for event in await store.read("order-1").collect()] == [
        {"item": "a"},
        {"b": [1]},
        "c",
    ]


async def test_snapshots_are_copies(url: str) -> None:
    class Basket(msgspec.Struct):
        items: list[str] = []

    store = event_store(url, Added)
    await store.append("cart-1", [Added("a")])
    basket = Basket(["a"])
    await store.save_snapshot("cart-1", basket, 0)
    basket.items.append("b")
    assert await store.snapshot("cart-1", Basket) == (Basket(["a"]), 0)
