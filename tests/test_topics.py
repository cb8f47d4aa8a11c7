"""What every topic promises, whatever broker is behind its URL; and what topic() refuses."""

import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from reactor.connectors.memory import MemoryLog
from reactor.connectors.sqlite import SqliteLog
from reactor.core import ArgumentError, DecodeError, Record, Refused, Sink, Source, UsedTwice
from reactor.topics import Topic, topic

pytestmark = pytest.mark.anyio


class Order(msgspec.Struct):
    id: str
    total: Decimal = Decimal(0)


class Cancelled(msgspec.Struct):
    id: str


@dataclass
class Moment:
    at: datetime
    day: date
    amounts: dict[str, Decimal]


@pytest.fixture(params=["sqlite", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/shop.db/orders"
    return f"memory:{tmp_path.name}"  # a name of its own for each test


@pytest.fixture(autouse=True)
def threads() -> Any:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


def orders(*ids: object) -> list[Order]:
    return [Order(str(id)) for id in ids]


@asynccontextmanager
async def opened(source: Source[Any]) -> AsyncIterator[Source[Any]]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


@asynccontextmanager
async def sinking(sink: Sink[Any]) -> AsyncIterator[Sink[Any]]:
    try:
        await sink.open()
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def rest(source: Source[Any], limit: int = 100) -> list[Record[Any]]:
    records: list[Record[Any]] = []
    while (batch := await source.read(limit)) is not None:
        assert 1 <= len(batch) <= limit
        records += batch
    return records


async def ids(topic: Topic[Any], *, start: int = 0) -> list[str]:
    return [record.value.id async for record in topic.records(start)]


# Publishing and reading ------------------------------------------------------------------------------------


async def test_events_come_back_in_order_with_positions_without_holes(url: str) -> None:
    shop = topic(url, Order)
    assert await shop.length() == 0
    assert await shop.publish(Order("a"), Order("b")) == [0, 1]
    assert await shop.publish(orders("c")) == [2]
    assert await shop.publish(iter(orders("d", "e"))) == [3, 4]
    assert await shop.publish([]) == []
    assert [(record.position, record.value.id) async for record in shop.records()] == list(enumerate("abcde"))
    assert await shop.length() == 5


async def test_values_key_headers_time_and_topic_survive(url: str) -> None:
    shop = topic(url, Moment)
    zone = timezone(timedelta(hours=2))
    moment = Moment(
        datetime(2010, 12, 1, 8, 26, 0, 5, tzinfo=zone), date(2011, 1, 2), {"£": Decimal("-0.10")}
    )
    at = datetime(2300, 1, 1, 12, 0, 0, 123457, tzinfo=zone)
    await shop.publish(moment, key="kéy", headers={"trace": "ab-cd", "ü": ""}, time=at)
    await shop.publish(moment, time=-5)
    first, second = [record async for record in shop.records()]
    assert first.value == second.value == moment
    assert first.value.at.utcoffset() == timedelta(hours=2)
    assert str(first.value.amounts["£"]) == "-0.10"
    assert (first.key, first.headers) == ("kéy", {"trace": "ab-cd", "ü": ""})
    assert first.time == (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert (second.key, second.headers, second.time) == (None, {}, -5)
    assert first.topic == shop.name


async def test_functions_give_each_event_its_key_headers_time_and_id(url: str) -> None:
    shop = topic(url, Order)
    sink = shop.sink(
        key=lambda order: order.id * 2,
        headers=lambda order: {"n": order.id} if order.id == "1" else None,
        time=lambda order: int(order.id),
        id=lambda order: order.id,
    )
    async with sinking(sink):
        await sink.write(orders(1, 2))
        await sink.flush()
        await sink.write(orders(2, 3))
    assert [(r.key, dict(r.headers), r.time) async for r in shop.records()] == [
        ("11", {"n": "1"}, 1),
        ("22", {}, 2),
        ("33", {}, 3),
    ]


async def test_time_is_now_where_nobody_says(url: str) -> None:
    before = datetime.now(UTC)
    await topic(url, Order).publish(Order("a"))
    [record] = [record async for record in topic(url, Order).records()]
    assert record.time is not None
    assert (
        before - timedelta(microseconds=1)
        <= datetime.fromtimestamp(record.time / 1e6, UTC)
        <= datetime.now(UTC)
    )


async def test_an_id_the_topic_has_is_not_stored_again(url: str) -> None:
    shop = topic(url, Order)

    def by_id(order: Order) -> str:
        return order.id

    assert await shop.publish(orders("a", "b"), id=by_id) == [0, 1]
    assert await shop.publish(orders("b", "c", "c", "a", "d"), id=by_id) == [1, 2, 2, 0, 3]
    assert await shop.publish(Order("x"), id="a") == [0]
    assert await shop.publish(orders("a", "b")) == [4, 5]  # without an id always new
    assert await ids(shop) == ["a", "b", "c", "d", "a", "b"]


async def test_ids_are_of_one_topic(url: str) -> None:
    one, other = topic(url, Order), topic(f"{url}-2", Order)
    await one.publish(Order("a"), id="1")
    assert await other.publish(Order("b"), id="1") == [0]
    assert await ids(one) == ["a"]
    assert await ids(other) == ["b"]


async def test_topics_of_one_broker_are_apart(url: str) -> None:
    one, other = topic(url, Order), topic(f"{url}-2", Cancelled)
    for n in range(20):
        await one.publish(Order(str(n)))
        await other.publish(Cancelled(str(-n)), Cancelled("x"))
    assert await ids(one) == [str(n) for n in range(20)]
    assert (await ids(other))[::2] == [str(-n) for n in range(20)]
    assert (await one.length(), await other.length()) == (20, 40)


async def test_what_is_published_stays(url: str) -> None:
    await topic(url, Order).publish(orders("a"))
    assert await topic(url, Order).publish(orders("b")) == [1]
    assert await ids(topic(url, Order)) == ["a", "b"]


async def test_replay_from_any_position(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(10)))
    assert await ids(shop, start=7) == ["7", "8", "9"]
    assert await ids(shop, start=10) == []
    async with opened(shop.source(start="latest", follow=False)) as source:
        assert await source.read(1) is None
    async with opened(shop.source(follow=False)) as source:
        await source.seek(8)
        assert source.position() == 8
        assert [record.value.id for record in await rest(source)] == ["8", "9"]
        assert source.position() == 10
        with pytest.raises(ArgumentError, match=r"seek\(-1\)"):
            await source.seek(-1)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_reads_take_what_is_there_up_to_the_limit(url: str, limit: int) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(10)))
    async with opened(shop.source(follow=False)) as source:
        assert [record.position for record in await rest(source, limit)] == list(range(10))
        with pytest.raises(ArgumentError, match=r"read\(limit=0\)"):
            await source.read(0)


async def test_few_large_events_are_read_at_once(tmp_path: Path) -> None:
    plain = topic(f"sqlite:{tmp_path}/shop.db/large")
    for _ in range(3):
        await plain.publish(["x" * 500_000] * 10)
    async with opened(plain.source(follow=False)) as source:
        sizes: list[int] = []
        while (batch := await source.read(1000)) is not None:
            sizes.append(len(batch))
    assert sum(sizes) == 30
    assert max(sizes) < 15, "all of them would be held in memory"


async def test_without_follow_the_end_is_the_end_as_of_opening(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders("a", "b"))
    async with opened(shop.source(follow=False)) as source:
        await shop.publish(orders("c"))
        assert [record.value.id for record in await rest(source)] == ["a", "b"]


async def test_a_topic_held_open_is_opened_once(url: str) -> None:
    async with topic(url, Order) as shop, shop:
        for n in range(5):
            await shop.publish(orders(n))
        assert await shop.length() == 5


# Types -----------------------------------------------------------------------------------------------------


async def test_only_the_types_asked_for_are_read_and_the_others_counted(url: str) -> None:
    shop = topic(url, Order, Cancelled)
    await shop.publish(Order("a"), Cancelled("b"), Order("c"), Cancelled("d"))
    async with opened(shop.source("g", Cancelled, follow=False)) as source:
        assert [(r.position, r.value) for r in await rest(source)] == [
            (1, Cancelled("b")),
            (3, Cancelled("d")),
        ]
        assert source.position() == 4
        assert source.skipped == 2  # type: ignore[attr-defined]


async def test_without_types_events_are_plain_values(url: str) -> None:
    plain = topic(url)
    values: list[object] = [{"a": [1, None, "é"]}, "text", 1.5, True, None]
    for value in values:
        await plain.publish(value)
    assert [record.value async for record in plain.records()] == values


async def test_one_list_is_the_events_and_a_list_in_a_list_is_an_event(url: str) -> None:
    plain = topic(url)
    await plain.publish([[1, 2]])
    await plain.publish([1], [2])
    assert [record.value async for record in plain.records()] == [[1, 2], [1], [2]]


async def test_an_event_of_another_type_is_refused_and_nothing_is_stored(url: str) -> None:
    shop: Topic[Any] = topic(url, Order)
    with pytest.raises(ArgumentError, match="takes Order, not Cancelled"):
        await shop.publish(Order("a"), Cancelled("b"))
    async with sinking(shop.sink()) as sink:
        with pytest.raises(Refused, match=r"event 1 of the write: .*takes Order, not Cancelled"):
            await sink.write([Order("a"), Cancelled("b")])
    assert await shop.length() == 0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"key": 5}, "key=: 5 isn't a str"),
        ({"key": lambda order: 5}, "key=: 5 isn't a str"),
        ({"key": "\ud800"}, "key=: .* isn't text: surrogates not allowed"),
        ({"headers": "abc"}, "headers=: 'abc' isn't a mapping"),
        ({"headers": {"a": 1}}, "headers=: 1 isn't a str"),
        ({"headers": lambda order: {1: "a"}}, "headers=: 1 isn't a str"),
        ({"time": "now"}, "time=: 'now' is neither an aware datetime nor an int"),
        ({"time": datetime.fromisoformat("2010-12-01")}, "time=: .* has no time zone"),
        ({"time": lambda order: True}, "time=: True is neither"),
        ({"time": 1 << 63}, "time=: .* are they nanoseconds"),
        ({"id": lambda order: None}, "id=: None isn't a str"),
        ({"id": "same"}, "several events need a function"),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_anything_is(
    url: str, keywords: dict[str, Any], message: str
) -> None:
    shop = topic(url, Order)
    with pytest.raises(ArgumentError, match=message):
        await shop.publish(orders("a", "b"), **keywords)
    assert await shop.length() == 0


async def test_headers_are_those_of_the_event_though_the_mapping_changes_later(url: str) -> None:
    shop = topic(url, Order)
    shared: dict[str, str] = {}

    def headers(order: Order) -> dict[str, str]:
        shared["id"] = order.id
        return shared

    await shop.publish(orders("a", "b"), headers=headers)
    assert [dict(record.headers) async for record in shop.records()] == [{"id": "a"}, {"id": "b"}]


async def test_a_record_that_does_not_fit_stops_the_reader_after_what_came_before_it(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/shop.db/orders"
    await topic(url).publish({"id": 1})
    await topic(url, Order).publish(Order("a"))
    await topic(url, Cancelled).publish(Cancelled("b"))
    shop = topic(url, Order)

    async with opened(shop.source("g", start=1, follow=False)) as source:
        assert [record.value for record in await source.read(100) or ()] == [Order("a")]
        assert source.position() == 2
        for _ in range(2):
            with pytest.raises(DecodeError, match="orders, position 2: Cancelled is none of Order"):
                await source.read(100)
        assert source.position() == 2

    rejected: list[tuple[Record[Any], Exception]] = []
    async with opened(shop.source("h", follow=False)) as source:
        source.reject = lambda record, error: rejected.append((record, error))
        assert [record.value for record in await rest(source)] == [Order("a")]
        assert source.position() == 3
    assert [(r.position, r.value, r.raw, r.topic) for r, _ in rejected] == [
        (0, {"id": 1}, b'{"id":1}', "orders"),
        (2, {"id": "b"}, b'{"id":"b"}', "orders"),
    ]


async def test_a_payload_that_does_not_fit_names_the_field(tmp_path: Path) -> None:
    class Line(msgspec.Struct):
        price: Decimal

    class Basket(msgspec.Struct):
        lines: list[Line]

    written = msgspec.defstruct("Basket", [("lines", list[Any])])
    url = f"sqlite:{tmp_path}/shop.db/baskets"
    await topic(url, written).publish(written([{"price": 1}, {"price": 2}, {"price": []}]))
    with pytest.raises(
        DecodeError,
        match=re.escape("position 0: Basket: Expected `decimal`, got `array` - at `$.lines[2].price`"),
    ):
        async for _ in topic(url, Basket).records():
            pass


# Groups ----------------------------------------------------------------------------------------------------


async def test_a_group_goes_on_where_it_committed(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(6)))
    assert await shop.position("g") is None
    async with opened(shop.source("g")) as source:
        assert await shop.position("g") == 0
        assert [record.value.id for record in await source.read(4) or ()] == ["0", "1", "2", "3"]
        await source.commit(2)
    assert await shop.position("g") == 2
    async with opened(shop.source("g", follow=False)) as source:
        assert source.position() == 2
        assert [record.value.id for record in await rest(source)] == ["2", "3", "4", "5"]
        await source.commit(6)
        await source.commit(3)  # never back
    assert await shop.groups() == {"g": 6}


async def test_groups_are_apart(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(3)))
    async with opened(shop.source("a")) as one, opened(shop.source("b")) as other:
        assert len(await one.read(10) or ()) == len(await other.read(10) or ()) == 3
        await one.commit(3)
    assert await shop.groups() == {"a": 3, "b": 0}
    assert await topic(f"{url}-2").groups() == {}


async def test_where_a_new_group_begins(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(5)))
    for group, start, position in (("a", "earliest", 0), ("b", "latest", 5), ("c", 3, 3), ("a", "latest", 0)):
        async with opened(shop.source(group, start=start)) as source:  # type: ignore[arg-type]
            assert source.position() == position
    with pytest.raises(ArgumentError, match=r"subscribe\('d', start=6\): .* has positions 0 to 5"):
        async with opened(shop.source("d", start=6)):
            pass


async def test_a_group_is_set_back_or_forward_by_hand(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(5)))
    async with opened(shop.source("g")) as source:
        await source.commit(5)
    await shop.reset("g", 1)
    async with opened(shop.source("g", follow=False)) as source:
        assert [record.position for record in await rest(source)] == [1, 2, 3, 4]
    for position in (-1, 6):
        with pytest.raises(ArgumentError, match=rf"reset\('g', {position}\): .* has positions 0 to 5"):
            await shop.reset("g", position)


async def test_a_source_without_a_group_commits_nothing(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders("a"))
    async with opened(shop.source()) as source:
        await source.read(1)
        await source.commit(1)
    assert await shop.groups() == {}


def test_the_same_group_has_the_same_identity_however_the_topic_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {
        topic(url, Order).source("g").identity
        for url in ("sqlite:shop.db/orders", "sqlite:./shop.db/orders", f"sqlite:{tmp_path}/shop.db/orders")
    }
    assert len(names) == 1
    assert names != {topic("sqlite:shop.db/orders").source("h").identity}
    assert topic("sqlite:shop.db/orders").source().identity is None


# Waiting ---------------------------------------------------------------------------------------------------


async def test_a_reader_that_waits_is_woken_by_an_append(url: str) -> None:
    shop = topic(url, Order)
    got: list[str] = []
    async with opened(shop.source("g", poll=1000)) as source, anyio.create_task_group() as tasks:

        async def read() -> None:
            while len(got) < 4:
                got.extend(record.value.id for record in await source.read(100) or ())

        tasks.start_soon(read)
        for n in range(4):
            await shop.publish(orders(n))
            while len(got) <= n:
                await anyio.lowlevel.checkpoint()
    assert got == ["0", "1", "2", "3"]


async def test_what_is_appended_between_the_look_and_the_wait_is_not_slept_through(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = topic(url, Order)
    log = SqliteLog if url.startswith("sqlite:") else MemoryLog
    fetch: Callable[..., Any] = log.fetch

    async def fetch_and_append(self: Any, *args: Any) -> Any:
        found = await fetch(self, *args)
        if found is None and await shop.length() == 0:
            await shop.publish(orders("a"))
        return found

    monkeypatch.setattr(log, "fetch", fetch_and_append)
    async with opened(shop.source(poll=1000)) as source:
        with anyio.fail_after(10):
            assert [record.value.id for record in await source.read(1) or ()] == ["a"]


async def test_many_readers_and_writers_at_once(url: str) -> None:
    shop = topic(url, Order)
    got: dict[int, list[str]] = {n: [] for n in range(4)}
    async with anyio.create_task_group() as tasks:

        async def read(n: int) -> None:
            async with opened(shop.source(f"g{n}", poll=1000)) as source:
                while len(got[n]) < 90:
                    got[n] += [record.value.id for record in await source.read(7) or ()]

        async def publish(n: int) -> None:
            for m in range(10):
                await shop.publish(orders(f"{n}.{m}a", f"{n}.{m}b", f"{n}.{m}c"))

        for n in range(4):
            tasks.start_soon(read, n)
        for n in range(3):
            tasks.start_soon(publish, n)
    assert got[0] == got[1] == got[2] == got[3] == await ids(shop)
    for n in range(3):
        assert [id for id in got[0] if id.startswith(f"{n}.")] == [
            f"{n}.{m}{c}" for m in range(10) for c in "abc"
        ]


async def test_a_cancelled_read_has_consumed_nothing(url: str) -> None:
    shop = topic(url, Order)
    got: list[str] = []
    async with opened(shop.source("g")) as source, shop:
        for n in range(10):
            await shop.publish(orders(n))
            for rounds in range(4):  # cancelled before, in, and after the look into the log
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_cancel_after, rounds, scope)
                        got += [record.value.id for record in await source.read(100) or ()]
                        tasks.cancel_scope.cancel()
                if len(got) > n:
                    break
            else:
                got += [record.value.id for record in await source.read(100) or ()]
    assert got == [str(n) for n in range(10)]


async def _cancel_after(rounds: int, scope: anyio.CancelScope) -> None:
    for _ in range(rounds):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_cancelled_publish_is_stored_whole_or_not_at_all(url: str) -> None:
    shop = topic(url, Order)
    async with shop:
        for rounds in range(20):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_cancel_after, rounds, scope)
                    await shop.publish(orders(*[rounds] * 3))
                    tasks.cancel_scope.cancel()
    # Closed: what was cancelled too late to be left undone is done by now.
    stored = await ids(shop)
    assert await shop.length() == len(stored)
    assert {stored.count(id) for id in stored} <= {3}


async def test_a_cancelled_commit_is_done_or_not_and_the_next_one_counts(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders(*range(50)))
    async with opened(shop.source("g")) as source:
        for position in range(1, 20):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_cancel_after, position, scope)
                    await source.commit(position)
                    tasks.cancel_scope.cancel()
            assert (await shop.position("g") or 0) <= position
        await source.commit(20)
    assert await shop.position("g") == 20


async def test_a_source_is_used_by_one_run_at_a_time_but_by_one_after_the_other(url: str) -> None:
    shop = topic(url, Order)
    await shop.publish(orders("a"))
    source = shop.source(follow=False)
    for _ in range(2):
        async with opened(source):
            with pytest.raises(UsedTwice, match="open already"):
                await source.open()
            assert len(await rest(source)) == 1
    await source.close()


# URLs and arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (5, "the first argument is a URL; known schemes: sqlite:, memory:"),
        ("orders", "has no scheme; known schemes: sqlite:, memory:"),
        ("mongo:x/y", "unknown scheme 'mongo'; known schemes: sqlite:, memory:"),
        ("sqlite:orders", "write sqlite:PATH/TOPIC"),
        ("sqlite:/orders", "write sqlite:PATH/TOPIC"),
        ("sqlite:shop.db/", "write sqlite:PATH/TOPIC"),
        ("sqlite://host/shop.db/orders", "write sqlite:PATH/TOPIC"),
        ("sqlite:shop.db/or\0ders", "characters that can't be printed"),
        ("sqlite:shop.db/\ud800", "characters that can't be printed"),
        ("memory:", "write memory:NAME"),
        ("memory://orders", "write memory:NAME"),
    ],
)
def test_urls_that_cannot_be_one(url: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        topic(url)


# What a type checker refuses too.
EITHER: Any = Order | Cancelled
ONE: Any = Order("a")
MIDDLE: Any = "middle"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: topic("memory:x", Order, Order), "two types have the same name"),
        (lambda: topic("memory:x", EITHER), "isn't a class; name the classes one by one"),
        (lambda: topic("memory:x", ONE), "isn't a class"),
        (lambda: topic("sqlite:x/y", type(lambda: 0)), "JSON can't say what a function is"),
        (lambda: topic("memory:x", Order).source("g", Cancelled), "carries Order, not Cancelled: name it"),
        (lambda: topic("memory:x").source(""), "a group is a name"),
        (lambda: topic("memory:x").source("g\n"), "a group is a name"),
        (lambda: topic("memory:x").source("g", start=-1), 'start=-1: "earliest", "latest" or a position'),
        (lambda: topic("memory:x").source("g", start=True), "start=True"),
        (lambda: topic("memory:x").source("g", start=MIDDLE), "start='middle'"),
        (lambda: topic("memory:x").source("g", poll=0), r"subscribe\(poll=0\): must be > 0"),
    ],
)
def test_arguments_that_cannot_work(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_a_topic_says_what_it_is() -> None:
    shop = topic("sqlite:shop.db/orders", Order, Cancelled)
    assert repr(shop) == "topic('sqlite:shop.db/orders', Order, Cancelled)"
    assert (shop.url, shop.name) == ("sqlite:shop.db/orders", "orders")
    assert shop.source("g").name == "orders"
    assert shop.source("g").replay
