"""Messages of which several have the same id: none is taken for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import msgspec
import pytest

from reactor import Topic, topic
from reactor.connectors.rabbitmq import RabbitMQBroker
from reactor.connectors.rabbitmq.reading import Read, named
from reactor.core import Source
from tests.brokers.rabbitmq.test_topics import nothing, opened, some
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


class Paid(msgspec.Struct, frozen=True):
    order: str
    part: int


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


def paid(rabbitmq: RabbitMQ, name: str = "", **options: object) -> Topic[Paid]:
    return topic(rabbitmq.at(name, **options) if name else rabbitmq.topic(**options), Paid)


async def publish(shop: Topic[Paid], *parts: int, **options: Any) -> None:
    await shop.publish([Paid("X", part) for part in parts], id=lambda event: event.order, **options)


async def parts(source: Source[Any], count: int) -> list[int]:
    return [record.value.part for record in await some(source, count)]


async def test_a_name_is_the_same_in_each_process() -> None:
    read = Read("X", "Paid", "k", {"b": "2", "a": "1"}, 5, b"{}")
    assert named(read) == "X#592c63331e7f9634"
    assert named(read._replace(headers={"a": "1", "b": "2"})) == named(read)
    others = (
        *({"id": "Y"}, {"type": "Paid2"}, {"key": None}, {"headers": None}, {"headers": {"a": "1"}}),
        *({"time": 6}, {"time": None}, {"data": b"{ }"}, {"type": "\ud800"}),
    )
    names = {named(read._replace(**other)) for other in others}
    assert len({named(read), *names}) == 1 + len(others)


async def test_one_that_a_checkpoint_covers_and_a_later_one(rabbitmq: RabbitMQ) -> None:
    shop = paid(rabbitmq, groups="all")
    await publish(shop, 1)
    async with opened(shop.source("all")) as source:
        assert await parts(source, 1) == [1]
        bookmark = source.bookmark(1)
        await source.commit(1)
    await publish(shop, 2)
    async with opened(shop.source("all")) as source:
        await source.restore(1, bookmark)
        assert await parts(source, 1) == [2]


async def test_one_that_a_checkpoint_covers_isnt_read_twice(rabbitmq: RabbitMQ) -> None:
    shop = paid(rabbitmq, groups="all")
    await publish(shop, 1, 2)
    async with opened(shop.source("all")) as source:
        assert await parts(source, 2) == [1, 2]
        bookmark = source.bookmark(1)
    async with opened(shop.source("all")) as source:
        await source.restore(1, bookmark)
        assert await parts(source, 1) == [2]
        await source.commit(2)
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_one_that_is_settled_and_one_that_is_read_ahead(rabbitmq: RabbitMQ, proxy: Proxy) -> None:
    shop = paid(rabbitmq, groups="all")
    await publish(shop, 1)
    log = paid(rabbitmq, shop.name, port=proxy.port)._log
    assert isinstance(log, RabbitMQBroker)
    consumer: Any = log.consumer("all", start="earliest", follow=True)
    await consumer.open()
    try:
        with anyio.fail_after(60):
            (one,) = await consumer.receive(10)
            await consumer.settle([one.token])
            await publish(shop, 2)
            while not consumer._came:
                await anyio.sleep(0.01)
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(proxy.mend)
            (other,) = await consumer.receive(10)
        assert (other.id, other.data) == ("X", b'{"order":"X","part":2}')
    finally:
        await consumer.close()


async def test_one_that_another_reader_has_taken_over(rabbitmq: RabbitMQ, proxy: Proxy) -> None:
    shop = paid(rabbitmq, groups="all")
    await publish(shop, 1)
    async with opened(paid(rabbitmq, shop.name, port=proxy.port).source("all")) as source:
        assert await parts(source, 1) == [1]
        await asyncio.to_thread(proxy.cut)
        async with opened(shop.source("all")) as other:
            assert await parts(other, 1) == [1]
            await other.commit(1)
        await publish(shop, 2)
        await asyncio.to_thread(proxy.mend)
        assert await parts(source, 1) == [2]


@pytest.mark.parametrize("what", ["part", "headers", "time"])
async def test_several_in_flight_differ_in_something(rabbitmq: RabbitMQ, what: str) -> None:
    shop = paid(rabbitmq, groups="all")
    first: Any = {"headers": {"n": "1"}} if what == "headers" else {"time": 1}
    await publish(shop, 1, **first)
    await publish(shop, 2 if what == "part" else 1, **({} if what == "headers" else {"time": 2}))
    async with opened(shop.source("all")) as source:
        one, two = await some(source, 2)
        assert one.place == "X"
        assert one.place != two.place
        await source.commit(2)
    async with opened(shop.source("all")) as source:
        await nothing(source)
