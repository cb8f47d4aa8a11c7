"""Where a reader that doesn't follow ends, and what one that is closed, or can't go on, leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from pamqp.commands import Basic

from reactor import Topic, topic
from reactor.connectors.rabbitmq import RabbitMQBroker
from reactor.connectors.rabbitmq.ends import beginning
from reactor.connectors.rabbitmq.errors import Lost
from reactor.connectors.rabbitmq.frames import Publishing
from reactor.connectors.rabbitmq.link import Link
from reactor.core import DecodeError, TopicError
from tests.brokers.rabbitmq.test_topics import Tick, numbers, opened, send, some, ticks
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


def consumer_of(shop: Topic[Tick]) -> Any:
    log = shop._log
    assert isinstance(log, RabbitMQBroker)
    return log.consumer("all", start="earliest", follow=False)


async def rest(source: Any) -> list[int]:
    """Read to the end, and commit what comes."""
    got: list[int] = []
    with anyio.fail_after(60):
        while (records := await source.read(10)) is not None:
            got += numbers(records)
            await source.commit(source.position())
    return got


async def ready(rabbitmq: RabbitMQ, shop: Topic[Tick], count: int) -> None:
    """Wait until the server has taken back what a reader had."""
    log = shop._log
    assert isinstance(log, RabbitMQBroker)
    found = -1

    async def look(channel: Any) -> None:
        nonlocal found
        found = await log.declare_queue(channel, log.queue_of("all"))

    with anyio.fail_after(60):
        while found != count:
            link = Link(log.server, look, lambda: None)
            await link.open()
            await link.drop()


async def test_what_comes_again_after_a_loss_doesnt_count_twice(rabbitmq: RabbitMQ, proxy: Proxy) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(60)])
    through = topic(rabbitmq.at(shop.name, port=proxy.port, prefetch=20), Tick)
    async with opened(through.source("all", follow=False)) as source:
        got = numbers(await source.read(15) or ())
        await asyncio.to_thread(proxy.cut)
        await ready(rabbitmq, shop, 60)
        await asyncio.to_thread(proxy.mend)
        await source.commit(len(got))
        got += await rest(source)
    assert sorted(got) == list(range(60))
    assert await asyncio.to_thread(rabbitmq.emptied, f"{shop.name}.all")


async def test_one_that_is_opened_again_begins_with_what_it_hadnt_settled(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(20)])
    consumer = consumer_of(shop)
    for _ in range(2):
        await consumer.open()
        got: list[bytes] = []
        with anyio.fail_after(60):
            while (found := await consumer.receive(100)) is not None:
                got += [each.data for each in found]
        await consumer.close()
        assert len(got) == 20
        await ready(rabbitmq, shop, 20)


async def test_a_reader_without_a_group_that_is_opened_again_goes_on(rabbitmq: RabbitMQ) -> None:
    shop = ticks(rabbitmq)
    source = shop.source()
    async with opened(source):
        await shop.publish([Tick(n) for n in range(3)])
        await send(rabbitmq, shop.name, b"no JSON", message_id="bad")
        await shop.publish([Tick(n) for n in range(3, 8)])
        assert numbers(await some(source, 3)) == [0, 1, 2]
        with pytest.raises(DecodeError):
            await some(source, 1)
    rejected: list[bytes | None] = []
    source.reject = lambda record, error: rejected.append(record.raw)
    async with opened(source):
        await source.seek(3)
        assert numbers(await some(source, 5)) == [3, 4, 5, 6, 7]
        await source.commit(9)
    assert rejected == [b"no JSON"]
    queues = await asyncio.to_thread(rabbitmq.queues)
    assert not [name for name in queues if name.startswith(f"{shop.name}.")]


@pytest.mark.parametrize("options", [{"groups": "all"}, {"queue": "stream"}])
async def test_a_time_that_the_client_cant_read_is_told(rabbitmq: RabbitMQ, options: Any) -> None:
    shop = ticks(rabbitmq, **options)
    await shop.publish(Tick(0))
    log = shop._log
    assert isinstance(log, RabbitMQBroker)
    link = Link(log.server, declared, lambda: None)
    await link.open()
    microseconds = 1_700_000_000_000_000
    publishing = Publishing(shop.name, "application/json", link.frame_max)
    link.put(publishing.frames("", {}, microseconds * 1_000_000, b'{"number":1}'))
    await link.call(link.channel.basic_qos(prefetch_count=1))  # the server has had the message then
    await link.drop()
    source = shop.source("all")
    for _ in range(2):
        try:
            with anyio.fail_after(60), pytest.raises(TopicError, match="timestamp isn't in seconds"):
                await source.open()
                while True:
                    await source.read(10)
        finally:
            await source.close()


async def declared(channel: Any) -> None:
    """There is nothing to be declared."""


async def test_a_mark_that_never_comes_is_a_lost_connection(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = ticks(rabbitmq, queue="stream")
    log = shop._log
    assert isinstance(log, RabbitMQBroker)
    confirmed = anyio.Event()

    async def declare(channel: Any) -> None:
        await log.declare_topic(channel)
        await log.declare_stream(channel)

    async def nothing_comes(data: bytes, **_: Any) -> Basic.Ack:
        confirmed.set()
        return Basic.Ack(1)

    async def lost() -> None:
        await confirmed.wait()
        await link.drop()

    link = Link(log.server, declare, lambda: None)
    await link.open()
    channel = link.channel
    monkeypatch.setattr(channel, "basic_publish", nothing_comes)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lost)
        with anyio.fail_after(20), pytest.raises(Lost):
            await beginning(channel, shop.name, "first")
