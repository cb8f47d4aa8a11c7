"""Topics at RabbitMQ, on a real node: what goes in comes out, groups, settling, messages of others, errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiormq
import anyio
import msgspec
import pytest
from pamqp import commands

from reactor import Pipeline, Stream, Topic, topic
from reactor.connectors.rabbitmq import RabbitMQ as Options
from reactor.connectors.rabbitmq import RabbitMQBroker
from reactor.core import ArgumentError, DecodeError, Record, Refused, Source, TopicError
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.asyncio


class Tick(msgspec.Struct, frozen=True):
    number: int


@asynccontextmanager
async def opened(source: Source[Any]) -> AsyncIterator[Source[Any]]:
    await source.open()
    try:
        yield source
    finally:
        await source.close()


async def some(source: Source[Any], count: int) -> list[Record[Any]]:
    """Read until there are ``count``."""
    records: list[Record[Any]] = []
    with anyio.fail_after(20):
        while len(records) < count:
            records += await source.read(count - len(records)) or []
    return records


async def nothing(source: Source[Any], seconds: float = 0.3) -> None:
    """Nothing comes."""
    with anyio.move_on_after(seconds):
        while not await source.read(10):
            pass
        pytest.fail("something came")


def numbers(records: Sequence[Record[Any]]) -> list[int]:
    return [record.value.number for record in records]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(20):
        while not await condition():
            await anyio.sleep(0.02)


async def send(rabbitmq: RabbitMQ, exchange: str, body: bytes, **properties: Any) -> None:
    """Publish as another application does."""
    connection = await aiormq.connect(rabbitmq.at("").removesuffix("/") + "/")
    channel = await connection.channel()
    # The client gives each message an id, unless it has one.
    options = commands.Basic.Properties(**{"message_id": "", **properties})
    await channel.basic_publish(body, exchange=exchange, properties=options)
    await connection.close()


def ticks(rabbitmq: RabbitMQ, **options: object) -> Topic[Tick]:
    return topic(rabbitmq.topic(**options), Tick)


# What goes in comes out -------------------------------------------------------------------------------------


async def test_an_event_comes_out_as_it_went_in(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="email")
    at = datetime(2026, 5, 4, 3, 2, 1, 123456, UTC)
    await shop.publish(Tick(7), key="k/1", headers={"shop": "ÄÖ", "empty": ""}, time=at, id="tick-7")
    async with opened(shop.source("email")) as source:
        (record,) = await some(source, 1)
    assert record.value == Tick(7)
    assert record.key == "k/1"
    assert dict(record.headers) == {"shop": "ÄÖ", "empty": ""}
    assert record.time == int(at.timestamp()) * 1_000_000 + 123456
    assert record.place == "tick-7"


async def test_other_clients_read_what_is_published(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="others")
    await shop.publish(Tick(7), key="k", id="tick-7", time=1_800_000_000_000_000, headers={"a": "b"})
    connection = await aiormq.connect(rabbitmq.at("").removesuffix("/") + "/")
    channel = await connection.channel()
    message = await channel.basic_get(f"{shop.name}.others", no_ack=True)
    await connection.close()
    properties = message.header.properties
    assert message.body == b'{"number":7}'
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.message_id == "tick-7"
    assert properties.timestamp == datetime.fromtimestamp(1_800_000_000, UTC)
    assert properties.headers.pop("x-delivery-count") == 0  # the queue's own
    assert properties.headers == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": "tick-7",
        "cloudEvents:source": shop.name,
        "cloudEvents:type": "Tick",
        "cloudEvents:time": "2027-01-15T08:00:00.000000+00:00",
        "cloudEvents:partitionkey": "k",
        "a": "b",
    }


async def test_many_come_in_order_through_a_pipeline(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await Pipeline("writes", Stream(range(5000)).map(Tick).to(shop)).run()
    got = await shop.subscribe("all").take(5000, volatile=True).collect()
    assert [tick.number for tick in got] == list(range(5000))


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 1_000_000])
async def test_bodies_of_any_size(rabbitmq: RabbitMQ, size: int) -> None:
    blobs: Topic[str] = topic(rabbitmq.topic(groups="all"), str)
    await blobs.publish("x" * size)
    async with opened(blobs.source("all")) as source:
        (record,) = await some(source, 1)
    assert len(record.value) == size


@pytest.mark.parametrize("queue", ["quorum", "classic"])
async def test_the_queues_are_durable_and_of_the_kind(rabbitmq: RabbitMQ, queue: str) -> None:
    shop = ticks(rabbitmq, queue=queue, groups="all")
    await shop.publish(Tick(1))
    said = await asyncio.to_thread(
        rabbitmq.control, "list_queues", "--no-table-headers", "name", "durable", "type"
    )
    name, durable, kind = next(
        line.split("\t") for line in said.splitlines() if line.startswith(f"{shop.name}.")
    )
    assert (name, durable) == (f"{shop.name}.all", "true")
    assert queue in kind


# Groups -----------------------------------------------------------------------------------------------------


async def test_each_group_gets_all(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="email, payment")
    await shop.publish([Tick(n) for n in range(10)])
    for group in ("email", "payment"):
        async with opened(shop.source(group)) as source:
            assert numbers(await some(source, 10)) == list(range(10))


async def test_two_readers_of_a_group_share(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, prefetch=5)
    async with opened(shop.source("all")) as one, opened(shop.source("all")) as two:
        await shop.publish([Tick(n) for n in range(10)])
        first, second = numbers(await some(one, 5)), numbers(await some(two, 5))
        assert sorted(first + second) == list(range(10))


async def test_a_new_group_begins_with_what_comes(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq)
    await shop.publish(Tick(1))
    async with opened(shop.source("late")) as source:
        await shop.publish(Tick(2))
        assert numbers(await some(source, 1)) == [2]


async def test_it_is_said_when_events_go_nowhere(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    shop = ticks(rabbitmq)
    await shop.publish([Tick(1), Tick(2)])
    (said,) = [record.getMessage() for record in caplog.records if record.name == "reactor"]
    assert "no group has subscribed yet; name them in groups=" in said
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("group", ["two words", "ÄÖ", "a~b", "a#b", "50%"])
async def test_a_group_has_any_name(rabbitmq: RabbitMQ, group: str) -> None:
    shop = ticks(rabbitmq)
    async with opened(shop.source(group)) as source:
        await shop.publish(Tick(1))
        assert numbers(await some(source, 1)) == [1]


async def test_groups_whose_names_have_dots_dont_meet(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic()
    one, two = topic(f"{url}?groups=b.c", Tick), topic(f"{url}.b?groups=c", Tick)
    await one.publish(Tick(1))
    await two.publish(Tick(2))
    for shop, group, number in ((one, "b.c", 1), (two, "c", 2)):
        async with opened(shop.source(group)) as source:
            assert numbers(await some(source, 1)) == [number]
            await nothing(source, 0.1)


async def test_a_reader_without_a_group_leaves_nothing_behind_that_is_settled(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq)
    async with opened(shop.source()) as one, opened(shop.source()) as two:
        await shop.publish([Tick(1), Tick(2)])
        for source in (one, two):
            assert numbers(await some(source, 2)) == [1, 2]
            await source.commit(2)
    queues = await asyncio.to_thread(rabbitmq.queues)
    assert not [name for name in queues if name.startswith(shop.name)]


async def test_it_ends_where_it_doesnt_follow(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all,none")
    await shop.publish([Tick(n) for n in range(10)])
    source = shop.source("all", follow=False)
    async with opened(source):
        await shop.publish(Tick(10))
        got: list[int] = []
        while (records := await source.read(4)) is not None:
            got += numbers(records)
        assert got == list(range(10))
        await source.commit(10)
    async with opened(shop.source("all", follow=False)) as one, opened(shop.source("all")) as other:
        assert numbers(await some(one, 1)) == [10]
        await one.commit(1)
        assert await one.read(1) is None
        await nothing(other, 0.1)


async def test_it_ends_where_another_reader_took_the_rest(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic(groups="all")
    shop = topic(url, Tick)
    await shop.publish([Tick(n) for n in range(6)])
    async with opened(topic(f"{url}&prefetch=3", Tick).source("all")) as other:
        await some(other, 3)
        async with opened(shop.source("all", follow=False)) as source:
            assert numbers(await some(source, 3)) == [3, 4, 5]
            with anyio.fail_after(10):
                assert await source.read(1) is None


# Settling ---------------------------------------------------------------------------------------------------


async def test_only_what_is_committed_doesnt_come_again(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(10)])
    async with opened(shop.source("all")) as source:
        await some(source, 8)
        await source.commit(3)
        await source.commit(5)
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 5)) == [5, 6, 7, 8, 9]
        await source.commit(5)
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_the_server_knows_when_commit_returns(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(100)])
    async with opened(shop.source("all")) as source:
        await some(source, 100)
        for count in range(10, 110, 10):
            await source.commit(count)
        assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_settled_in_any_order(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(10)])
    log = shop._log
    assert isinstance(log, RabbitMQBroker)
    consumer = log.consumer("all", start="earliest", follow=True)
    await consumer.open()
    try:
        tokens = []
        while len(tokens) < 10:
            tokens += [each.token for each in await consumer.receive(10) or ()]
        for chosen in ([9], [0, 1], [3, 5], [2, 4], [6], [8, 7]):
            await consumer.settle([tokens[n] for n in chosen])
    finally:
        await consumer.close()
    async with opened(shop.source("all")) as source:
        await nothing(source)
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_no_more_than_prefetch_is_in_flight(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all", prefetch=7)
    await shop.publish([Tick(n) for n in range(20)])
    async with opened(shop.source("all")) as source:
        assert len(await some(source, 7)) == 7
        await nothing(source)
        async with opened(shop.source("all")) as other:
            assert numbers(await some(other, 7)) == list(range(7, 14))
        await source.commit(3)
        assert len(await some(source, 3)) == 3


async def test_what_a_publisher_sent_twice_is_settled_twice(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all", prefetch=3)
    await shop.publish([Tick(1), Tick(2), Tick(1), Tick(1), Tick(3)], id=lambda tick: f"{tick.number}")
    async with opened(shop.source("all")) as source:
        got = numbers(await some(source, 2))
        await source.commit(2)
        with anyio.move_on_after(1):
            while True:
                got += numbers(await source.read(10) or ())
                await source.commit(len(got))
        assert set(got) == {1, 2, 3}
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_a_read_that_is_cancelled_loses_nothing(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq)
    async with opened(shop.source("all")) as source:
        got: list[int] = []

        async def publish() -> None:
            for n in range(200):
                await shop.publish(Tick(n))

        async with shop, anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            with anyio.fail_after(20):
                while len(got) < 200:
                    with anyio.move_on_after(0.001):
                        got += numbers(await source.read(10) or ())
        assert got == list(range(200))


# Messages of others -----------------------------------------------------------------------------------------


async def test_a_plain_message_of_another_application(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish(Tick(0))
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    headers: Any = {"n": 5, "yes": True, "none": None, "many": [1, "a"], "text": "ä", "at": stamp}
    await send(rabbitmq, shop.name, b'{"number":1}', headers=headers, timestamp=stamp, message_id="m-1")
    await send(rabbitmq, shop.name, b'{"number":2}')
    await send(rabbitmq, shop.name, b'{"number":3}', content_type="application/json")
    async with opened(shop.source("all")) as source:
        _, one, two, three = await some(source, 4)
        await source.commit(4)
    assert numbers([one, two, three]) == [1, 2, 3]
    assert one.place == "m-1"
    assert one.time == int(stamp.timestamp()) * 1_000_000
    assert one.headers["n"] == "5"
    assert one.headers["yes"] == "true"
    assert json.loads(one.headers["many"]) == [1, "a"]
    assert one.headers["text"] == "ä"
    assert two.place != three.place
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_different_messages_with_the_same_id_are_all_read(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish(Tick(0))
    for n in (1, 2):
        await send(rabbitmq, shop.name, b'{"number":%d}' % n, message_id="always the same")
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 3)) == [0, 1, 2]


async def test_cloud_events_of_others(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish(Tick(0))
    binary = {"id": "1", "type": "Tick", "source": "s", "specversion": "1.0", "partitionkey": "k"}
    headers: Any = {f"cloudEvents_{name}": value for name, value in binary.items()}
    await send(rabbitmq, shop.name, b'{"number":1}', headers=headers)
    structured = {**binary, "id": "2", "data": {"number": 2}}
    await send(
        *(rabbitmq, shop.name, json.dumps(structured).encode()),
        content_type="application/cloudevents+json; charset=UTF-8",
    )
    async with opened(shop.source("all")) as source:
        records = await some(source, 3)
    assert numbers(records) == [0, 1, 2]
    assert [(record.place, record.key) for record in records[1:]] == [("1", "k"), ("2", "k")]


async def test_a_message_that_cant_be_read_is_told(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish(Tick(0))
    await send(rabbitmq, shop.name, b"\x00 no JSON", message_id="poison")
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 1)) == [0]
        for _ in range(2):
            with pytest.raises(DecodeError, match="position poison"):
                await some(source, 1)


# Errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["source", "sink"])
async def test_a_wrong_password_is_told_at_once(rabbitmq: RabbitMQ, side: str) -> None:
    shop = topic(rabbitmq.at("t", password="wr0ng"), Tick)
    end: Any = shop.source("all") if side == "source" else shop.sink()
    with anyio.fail_after(8), pytest.raises(TopicError) as caught:
        await end.open()
    await end.close()
    assert "ACCESS_REFUSED" in str(caught.value)
    assert "wr0ng" not in str(caught.value)


async def test_a_virtual_host_that_isnt_there_is_told_at_once(rabbitmq: RabbitMQ) -> None:
    shop = topic(rabbitmq.at("nowhere/t"), Tick)
    with anyio.fail_after(8), pytest.raises(TopicError, match="nowhere"):
        await shop.publish(Tick(1))


async def test_a_virtual_host(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(rabbitmq.control, "add_vhost", "a/b")
    await asyncio.to_thread(rabbitmq.control, "set_permissions", "-p", "a/b", "shop", ".*", ".*", ".*")
    shop = topic(rabbitmq.at("a%2Fb/t", groups="all"), Tick)
    await shop.publish(Tick(1))
    assert shop.name == "t"
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 1)) == [1]


async def test_a_queue_of_another_kind_is_told_at_once(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic()
    await topic(f"{url}?groups=all", Tick).publish(Tick(1))
    with anyio.fail_after(8), pytest.raises(TopicError, match="inequivalent arg 'x-queue-type'"):
        await topic(f"{url}?queue=classic&groups=all", Tick).publish(Tick(2))


async def test_nobody_listens(rabbitmq: RabbitMQ) -> None:
    from tests.servers.server import free_port

    shop = topic(rabbitmq.at("t", port=free_port(), patience=0.3), Tick)
    with anyio.fail_after(8), pytest.raises(TopicError, match="gone for"):
        await shop.publish(Tick(1))


async def test_a_message_that_is_too_large_is_refused_alone(rabbitmq: RabbitMQ) -> None:
    blobs: Topic[str] = topic(rabbitmq.topic(groups="all", largest=1000), str)
    with pytest.raises(Refused) as caught:
        await blobs.publish(["a", "b" * 2000, "c", "d" * 2000])
    assert set(caught.value.errors) == {1, 3}
    assert "largest=1000" in str(caught.value)
    async with opened(blobs.source("all")) as source:
        await nothing(source)


async def test_a_message_that_the_server_finds_too_large(rabbitmq: RabbitMQ) -> None:
    blobs: Topic[str] = topic(rabbitmq.topic(groups="all", largest=20_000_000), str)
    async with blobs:
        with anyio.fail_after(20), pytest.raises(Refused, match=r"16777216.*largest="):
            await blobs.publish(["a", "b" * 17_000_000])
        with pytest.raises(Refused, match="largest=16777216"):  # now it knows
            await blobs.publish(["b" * 17_000_000])
        await blobs.publish("c")
    async with opened(blobs.source("all")) as source:
        got = {record.value for record in await some(source, 2)}
    assert got == {"a", "c"}


async def test_headers_that_amqp_has_no_room_for_are_refused(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    for headers in ({"n" * 256: "x"}, {"x": "y" * 200_000}):
        with pytest.raises(Refused, match=r"AMQP takes 255|the server takes"):
            await shop.publish(Tick(1), headers=headers)
    long = "i" * 300
    await shop.publish(Tick(1), id=long, headers={"n" * 255: "x" * 100_000})
    async with opened(shop.source("all")) as source:
        (record,) = await some(source, 1)
    assert record.place == long


async def test_a_connection_by_tls(rabbitmq: RabbitMQ) -> None:
    shop = topic(rabbitmq.topic(tls=True, ca=rabbitmq.certificate, groups="all"), Tick)
    await shop.publish(Tick(1))
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 1)) == [1]
    unchecked = topic(rabbitmq.topic(tls=True, verify="false"), Tick)
    await unchecked.publish(Tick(2))
    for options, said in (({}, "certificate verify failed"), ({"ca": "/nowhere.pem"}, "can't be read")):
        with anyio.fail_after(8), pytest.raises(TopicError, match=said):
            await topic(rabbitmq.topic(tls=True, **options), Tick).publish(Tick(3))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://h", "the topic is missing"),
        ("amqp://h/a/b/c", "VHOST/TOPIC"),
        ("amqp://h/amq.topic", "amq."),
        ("amqp://h/a%2Ab", "'a\\*b' has others"),
        ("amqp://h/" + "t" * 256, "characters at most"),
        ("amqp://h/t?groups=" + "g" * 254, "characters at most"),
        ("amqp://h/t?prefetch=0", "prefetch"),
        ("amqp://h/t?prefetch=70000", "prefetch"),
        ("amqp://h/t?queue=other", "queue"),
        ("amqp://h/t?queue=classic&delivery_limit=3", "quorum"),
        ("amqp://h/t?colour=red", "colour"),
    ],
)
async def test_what_cant_be_is_refused(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        topic(url, Tick)


async def test_settings_and_the_url() -> None:
    log = topic("amqps://me:pw@h:1,k/v/t?prefetch=5", config=Options(prefetch=1, largest=9))._log
    assert isinstance(log, RabbitMQBroker)
    assert log.settings == Options(prefetch=5, largest=9)
    assert (log.vhost, log.topic) == ("v", "t")
    assert log.identity == "amqps://h:1,k:5671/v/t"
    assert "pw" not in f"{log.url}{log.server.what}"
