"""Topics and event stores write names and versions of contracts, and bring older events on when they are read."""

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor import Pipeline, Record, Stream, Topic, topic
from reactor.connectors.memory import forget
from reactor.contracts import (
    VERSION,
    MissingUpcaster,
    NewerVersion,
    PayloadMismatch,
    UnknownType,
    event,
    upcast,
)
from reactor.core import ArgumentError
from reactor.eventstore import NewEvent, StoredEvent, event_store
from tests.contracts.shops import EVENTS, First, Line, OrderSettled, Second

pytestmark = pytest.mark.anyio

_numbers = itertools.count()


class Paid(msgspec.Struct):
    order: str


@event("order.paid", formerly="Paid")
class PaidToday(msgspec.Struct):
    order: str


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/shop.db"
    else:
        name = f"contracts{next(_numbers)}"
        yield f"memory:{name}"
        forget(name)


async def grown(place: str) -> None:
    """An event of each version, written by the code of its time."""
    await topic(f"{place}/orders", First).publish(First("a", 9.5))
    await topic(f"{place}/orders", Second).publish(Second("b", [Line("x", 2.0)]))
    await topic(f"{place}/orders", OrderSettled).publish(EVENTS[2])


async def read(topic: Topic[Any]) -> list[Record[Any]]:
    return [record async for record in topic.records()]


async def test_older_events_are_read_as_those_of_today(place: str) -> None:
    await grown(place)
    records = await read(topic(f"{place}/orders", OrderSettled))
    assert [record.value for record in records] == EVENTS
    assert [dict(record.headers) for record in records] == [{}, {VERSION: "2"}, {VERSION: "3"}]


async def test_subscribing_and_of_type_work_as_before(place: str) -> None:
    await grown(place)
    shop: Topic[OrderSettled | Paid] = topic(f"{place}/orders", OrderSettled, Paid)
    await shop.publish(Paid("a"))
    assert await shop.subscribe("g", OrderSettled, follow=False).collect() == EVENTS
    assert await shop.subscribe("h", Paid, follow=False).collect() == [Paid("a")]
    both = shop.subscribe("i", follow=False)
    assert await both.of_type(OrderSettled).collect() == EVENTS


async def test_a_known_type_that_nobody_asked_for_is_passed_over_whatever_its_version(place: str) -> None:
    await grown(place)
    source = topic(f"{place}/orders", OrderSettled, Paid).source("g", Paid, follow=False)
    await source.open()
    try:
        assert await source.read(10) == []
        assert source.skipped == 3  # type: ignore[attr-defined]
    finally:
        await source.close()


async def test_the_name_is_the_contract_s(place: str) -> None:
    await topic(f"{place}/paid", PaidToday).publish(PaidToday("a"))
    store = event_store(place, PaidToday)
    assert [found.type for found in await store.read("paid").collect()] == ["order.paid"]
    assert repr(topic(f"{place}/paid", PaidToday)).endswith(", order.paid)")


async def test_a_topic_without_types_writes_contracts_too(place: str) -> None:
    anything = topic(f"{place}/orders")
    await anything.publish([First("a", 9.5), Second("b", [Line("x", 2.0)]), EVENTS[2]])
    assert [record.value for record in await read(topic(f"{place}/orders", OrderSettled))] == EVENTS


async def test_a_renamed_event_is_read_by_the_name_it_had(place: str) -> None:
    await topic(f"{place}/paid", Paid).publish(Paid("a"))
    after = topic(f"{place}/paid", PaidToday)
    await after.publish(PaidToday("b"))
    read_back = [record.value.order for record in await read(after)]
    assert read_back == ["a", "b"]
    with pytest.raises(ArgumentError, match="two types have the same name"):
        topic(f"{place}/paid", PaidToday, Paid)


async def test_two_versions_in_one_topic_are_refused(place: str) -> None:
    with pytest.raises(ArgumentError, match=r"OrderSettled, OrderSettled.*two types have the same name"):
        topic(f"{place}/orders", First, OrderSettled)


async def test_the_version_is_told_beside_headers_of_the_user(place: str) -> None:
    orders = topic(f"{place}/orders", OrderSettled)
    await orders.publish(EVENTS[2], headers={"trace": "1"})
    await orders.publish(EVENTS[2], headers=lambda order: {"trace": order.id})
    headers = [dict(record.headers) for record in await read(orders)]
    assert headers == [{"trace": "1", VERSION: "3"}, {"trace": "c", VERSION: "3"}]


async def test_a_version_among_the_headers_of_another_record_is_not_taken_over(place: str) -> None:
    await grown(place)
    orders, paid = topic(f"{place}/orders", OrderSettled), topic(f"{place}/paid", Paid)
    for record in await read(orders):
        await orders.publish(record.value, headers=record.headers)
        await paid.publish(Paid(record.value.id), headers=record.headers)
    assert [record.value for record in await read(orders)] == EVENTS + EVENTS
    assert [dict(record.headers) for record in await read(paid)] == [{}, {}, {}]


async def append(topic: Topic[Any], name: str, version: str, event: Any) -> None:
    """Write what no code of today would."""
    async with topic:
        await topic._log.append([("1", name, None, {VERSION: version}, 0, topic._codec._data(event))])


async def test_what_is_newer_says_where_it_stands(place: str) -> None:
    orders = topic(f"{place}/orders", OrderSettled)
    await append(orders, "OrderSettled", "4", EVENTS[2])
    says = "topic .*orders, position 0: OrderSettled version 4: the newest"
    with pytest.raises(NewerVersion, match=says):
        await read(orders)


async def test_what_is_unknown_says_where_it_stands(place: str) -> None:
    await topic(f"{place}/orders", Paid).publish(Paid("a"))
    says = "topic .*orders, position 0: Paid is none of OrderSettled"
    with pytest.raises(UnknownType, match=says):
        await read(topic(f"{place}/orders", OrderSettled))


@event("Skipping", version=1)
class Skipping1(msgspec.Struct):
    id: str


@event("Skipping", version=2)
class Skipping(msgspec.Struct):
    id: str


async def test_a_missing_upcaster_says_where_it_was_needed(place: str) -> None:
    await topic(f"{place}/skipping", Skipping1).publish(Skipping1("a"))
    with pytest.raises(MissingUpcaster, match=r"skipping, position 0: .*declare @upcast\(Skipping, from"):
        await read(topic(f"{place}/skipping", Skipping))


async def test_a_current_payload_that_does_not_fit_names_its_version(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/shop.db/orders"
    await topic(url, OrderSettled).publish(OrderSettled("a", [], 3))  # type: ignore[arg-type]
    with pytest.raises(PayloadMismatch, match=r"position 0: OrderSettled version 3: .* at `\$.currency`"):
        await read(topic(url, OrderSettled))


async def test_a_header_that_is_no_version_is_told(place: str) -> None:
    orders = topic(f"{place}/orders", OrderSettled)
    await append(orders, "OrderSettled", "two", EVENTS[2])
    with pytest.raises(UnknownType, match="'two' is no version; the header reactor-version is a number"):
        await read(orders)


async def test_in_the_file_the_header_stands_only_where_the_version_is_not_1(tmp_path: Path) -> None:
    await grown(f"sqlite:{tmp_path}/shop.db")
    db = sqlite3.connect(tmp_path / "shop.db")
    try:
        rows = db.execute("SELECT type, headers FROM events ORDER BY place").fetchall()
    finally:
        db.close()
    name = "OrderSettled"
    assert rows == [(name, None), (name, '{"reactor-version": "2"}'), (name, '{"reactor-version": "3"}')]


async def test_an_event_store_brings_older_events_on(place: str) -> None:
    older, today = event_store(place, First), event_store(place, OrderSettled)
    await older.append("order-a", [NewEvent(First("a", 9.5), metadata={"by": "me"})])
    await event_store(place, Second).append("order-a", [Second("b", [Line("x", 2.0)])])
    await today.append("order-a", [EVENTS[2]])
    assert [found.value for found in await today.read("order-a").collect()] == EVENTS
    assert [found.value for found in await today.read_all().collect()] == EVENTS
    stream = today.subscribe("order-a", follow=False)
    assert await stream.map(lambda found: found.value).collect() == EVENTS
    assert await today.fold("order-a", 0, lambda n, found: n + len(found.value.lines)) == 2


async def test_a_sink_writes_versions(place: str) -> None:
    orders = topic(f"{place}/orders", OrderSettled)
    await Pipeline("copy", Stream(EVENTS).to(orders)).run()
    assert {record.headers[VERSION] for record in await read(orders)} == {"3"}
    assert [record.value for record in await read(orders)] == EVENTS


@event("Basket")
class OldBasket(msgspec.Struct):
    count: int = 0


@event("Basket", version=2)
class Basket(msgspec.Struct):
    count: int = 0
    skus: list[str] = []


@upcast(Basket, from_version=1)
def with_skus(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "skus": ["from a snapshot"]}


@event("Counted")
class OldCount(msgspec.Struct):
    times: list[int]


@event("Counted", version=2)
class Count(msgspec.Struct):
    times: list[int]


@upcast(Count, from_version=1)
def once_more(old: OldCount) -> Count:
    old.times.append(0)
    return Count(old.times)


async def test_what_is_stored_in_memory_is_not_what_an_upcaster_changes(place: str) -> None:
    await topic(f"{place}/counted", OldCount).publish(OldCount([1]))
    counted = topic(f"{place}/counted", Count)
    for _ in range(2):
        assert [record.value for record in await read(counted)] == [Count([1, 0])]


async def test_a_snapshot_of_an_older_state_is_brought_on(place: str) -> None:
    store = event_store(place, First)
    await store.append("order-a", [First("a", 1), First("b", 2)])
    await store.save_snapshot("order-a", OldBasket(2), 1, name="basket")
    found = await store.snapshot("order-a", Basket, name="basket")
    assert found == (Basket(2, ["from a snapshot"]), 1)

    def count(basket: Basket, _: StoredEvent[First]) -> Basket:
        return Basket(basket.count + 1, basket.skus)

    await store.append("order-a", [First("c", 3)])
    folded = await store.fold("order-a", Basket, count, snapshot=Basket, every=1, name="basket")
    assert folded == Basket(3, ["from a snapshot"])
    assert await store.snapshot("order-a", Basket, name="basket") == (folded, 2)
    assert await store.snapshot("order-a", OldBasket, name="basket") == (OldBasket(2), 1)  # for code of then
