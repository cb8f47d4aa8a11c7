"""Streams at RabbitMQ: positions, retention, where they end; and dead letters, which stand in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import anyio
import pytest
from pamqp import commands

from reactor import DeadLetters, Pipeline, StoredLetter, dead_letters, topic
from reactor.connectors.rabbitmq import RabbitMQ as Options
from reactor.connectors.rabbitmq import RabbitMQBroker
from reactor.connectors.rabbitmq.ends import MARK, Seen, look
from reactor.connectors.rabbitmq.link import Channel, Link
from reactor.core import ArgumentError, LetterError, TopicError
from tests.brokers.letters import Order, command, failed, refuse, retried, seen, settled
from tests.brokers.rabbitmq.test_topics import Tick, nothing, numbers, opened, some
from tests.brokers.waiting import misses_nothing
from tests.servers.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


@asynccontextmanager
async def bare(server: RabbitMQ) -> AsyncGenerator[Any, None]:
    """A channel of the client, without reactor."""
    connection = await aiormq.connect(server.at("").rstrip("/") + "/")
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def read(source: Any) -> list[int]:
    """Read to the end."""
    found: list[int] = []
    async with opened(source):
        with anyio.fail_after(20):
            while (records := await source.read(100)) is not None:
                found += numbers(records)
    return found


async def failure(source: Any, read: Callable[[Any], Awaitable[Any]] = lambda one: some(one, 1)) -> str:
    with pytest.raises(TopicError) as found:
        async with opened(source):
            await read(source)
    return str(found.value)


# Streams -------------------------------------------------------------------------------------------------------


async def test_it_is_a_stream_with_its_retention(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream", max_bytes=10_000_000, max_age=3600, segment=1_000_000), Tick)
    await ticks.publish(Tick(1))
    arguments: dict[str, Any] = {
        "x-queue-type": "stream",
        "x-max-length-bytes": 10_000_000,
        "x-max-age": "3600s",
        "x-stream-max-segment-size-bytes": 1_000_000,
    }
    async with bare(rabbitmq) as channel:
        await channel.queue_declare(ticks.name, durable=True, arguments=arguments)
        arguments["x-max-age"] = "3601s"  # the server does compare them
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
            await channel.queue_declare(ticks.name, durable=True, arguments=arguments)


async def test_the_same_exchange_has_a_stream_and_queues(rabbitmq: RabbitMQ) -> None:
    name = topic(rabbitmq.topic()).name
    queues, stream = topic(rabbitmq.at(name), Tick), topic(rabbitmq.at(name, queue="stream"), Tick)
    async with opened(queues.source("g")) as source:
        await stream.publish(Tick(1))
        await queues.publish(Tick(2))
        assert numbers(await some(source, 2)) == [1, 2]
    assert await read(stream.source(follow=False)) == [1, 2]


async def test_what_others_publish_is_read(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    assert await read(ticks.source(follow=False)) == []
    async with bare(rabbitmq) as channel:
        for number in range(3):
            await channel.basic_publish(b'{"number": %d}' % number, routing_key=ticks.name)
    assert await read(ticks.source(follow=False)) == [0, 1, 2]


async def test_marks_are_nobodys_events(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    for expected in ([], [0], [0, 1]):
        assert await read(ticks.source(follow=False)) == expected
        async with bare(rabbitmq) as channel:
            mark = commands.Basic.Properties(message_type=MARK)
            await channel.basic_publish(b"", routing_key=ticks.name, properties=mark)
        await ticks.publish(Tick(len(expected)))
    async with opened(ticks.source("g", start="latest")) as source:
        await ticks.publish(Tick(9))
        records = await some(source, 1)
        assert numbers(records) == [9]
        await source.commit(1)
        await nothing(source)


async def test_a_mark_behind_a_position_does_not_hide_it(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    await ticks.publish([Tick(n) for n in range(10)])
    async with opened(ticks.source("g")) as source:
        await some(source, 6)
        await source.commit(6)
    broker = ticks._log
    assert isinstance(broker, RabbitMQBroker)
    async with bare(rabbitmq) as channel:
        for _ in range(3):
            mark = commands.Basic.Properties(message_type=MARK)
            await channel.basic_publish(b"", routing_key=broker.positions_of("g"), properties=mark)
    async with opened(ticks.source("g")) as source:
        assert numbers(await some(source, 4)) == [6, 7, 8, 9]


async def test_a_look_goes_to_the_end_though_credit_is_small(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.rabbitmq.ends._EMPTY", 20)  # no mark, however long the node takes
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    await ticks.publish([Tick(n) for n in range(1000)])
    broker = ticks._log
    assert isinstance(broker, RabbitMQBroker)
    found: list[Seen] = []

    async def prepare(channel: Channel) -> None:
        for prefetch in (1, 3, 999, 1000, 1001):
            found.append(await look(channel, ticks.name, 0, prefetch))

    link = Link(broker.server, prepare, lambda: None)
    await link.open()
    await link.drop()
    assert found == [Seen(0, 1000, b'{"number":999}')] * 5


async def test_positions_are_offsets_and_a_bookmark_brings_back_there(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    await ticks.publish([Tick(n) for n in range(20)])
    source: Any = ticks.source("g")
    async with opened(source):
        await some(source, 10)
        bookmark = source.bookmark(7)
        assert bookmark == '{"":7}'
    again: Any = ticks.source("g")
    async with opened(again):
        await again.restore(7, bookmark)
        assert numbers(await some(again, 13)) == list(range(7, 20))


async def test_who_waits_at_the_end_without_a_group_misses_nothing(rabbitmq: RabbitMQ) -> None:
    await misses_nothing(topic(rabbitmq.topic(queue="stream"), Tick), Tick(1), Tick(2), Tick(3))


async def test_a_group_holds_no_more_than_it_reads_ahead(rabbitmq: RabbitMQ) -> None:
    """What is in flight for long is acknowledged to the server, which would close the channel otherwise."""
    ticks = topic(rabbitmq.topic(queue="stream", prefetch=5), Tick)
    await ticks.publish([Tick(n) for n in range(50)])
    async with opened(ticks.source("g")) as source:
        assert numbers(await some(source, 50)) == list(range(50))  # none of them committed
    async with opened(ticks.source("g")) as source:
        assert numbers(await some(source, 50)) == list(range(50))


async def test_a_position_that_is_not_kept_any_more_is_told(rabbitmq: RabbitMQ) -> None:
    options = {"queue": "stream", "segment": 20_000, "max_bytes": 40_000}
    url = rabbitmq.topic(**options)
    ticks = topic(url, Tick)
    async with opened(ticks.source("g")):
        pass
    lenient = topic(f"{url}&gap=earliest", Tick)  # the server takes away what is just being read, too
    left: list[int] = []
    published = 0
    with anyio.fail_after(60):
        while not left or left[0] == 0:  # retention looks when a file is full
            await ticks.publish([Tick(n) for n in range(published, published + 200)])
            published += 200
            left = await read(lenient.source(follow=False))
    assert left[-1] == published - 1
    said = await failure(ticks.source("g"))
    assert "isn't kept, the oldest one is" in said
    assert "gap=earliest" in said
    async with opened(lenient.source("g")) as source:
        first = numbers(await some(source, 1))[0]
        assert first >= left[0]


async def test_a_stream_that_was_made_anew_is_told(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic(queue="stream")
    ticks = topic(url, Tick)
    await ticks.publish([Tick(n) for n in range(10)])
    async with opened(ticks.source("g")) as source:
        await some(source, 10)
        await source.commit(10)
    async with bare(rabbitmq) as channel:
        await channel.queue_delete(ticks.name)
    await ticks.publish([Tick(n) for n in range(100, 103)])
    assert "was deleted and made again" in await failure(ticks.source("g"))
    async with opened(topic(f"{url}&gap=earliest", Tick).source("g")) as source:
        assert numbers(await some(source, 3)) == [100, 101, 102]


async def test_a_stream_that_is_deleted_while_it_is_read_is_told(rabbitmq: RabbitMQ) -> None:
    ticks = topic(rabbitmq.topic(queue="stream"), Tick)
    await ticks.publish([Tick(n) for n in range(10)])

    async def read_on(source: Any) -> None:
        await some(source, 10)
        async with bare(rabbitmq) as channel:
            await channel.queue_delete(ticks.name)
        await some(source, 1)

    assert "was deleted and made again" in await failure(ticks.source("g"), read_on)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("queue=stream&max_length=5", "max_bytes= and max_age="),
        ("queue=stream&delivery_limit=5", "only quorum queues"),
        ("queue=stream&groups=g", "keeps what comes before a group"),
        ("queue=stream&max_age=0", "must be >= 1"),
        ("queue=stream&gap=latest", "gap"),
    ],
)
async def test_what_a_stream_has_not_is_refused(query: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        topic(f"amqp://localhost/orders?{query}")


async def test_a_stream_by_settings() -> None:
    log: Any = topic("amqp://localhost/orders", Tick, config=Options(queue="stream"))._log
    assert log.capabilities.replay
    assert log.beside("paid").capabilities.replay
    assert not log.beside("paid").there().stream


# Dead letters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["quorum", "stream"])
async def test_letters_are_kept_though_no_group_has_subscribed(rabbitmq: RabbitMQ, queue: str) -> None:
    dead = topic(rabbitmq.topic(queue=queue), StoredLetter)
    await failed(dead, 20)
    for _ in range(2):
        assert await seen(dead) == list(range(20))


async def test_groups_get_letters_as_ever(rabbitmq: RabbitMQ) -> None:
    dead = topic(rabbitmq.topic(groups="alerts"), StoredLetter)
    await failed(dead, 3)
    async with opened(dead.source("alerts")) as source:
        records = await some(source, 3)
        await source.commit(len(records))
    assert await seen(dead) == [0, 1, 2]


async def test_the_commands_do_what_they_do_at_a_log(rabbitmq: RabbitMQ) -> None:
    orders = topic(rabbitmq.topic(groups="g"), Order)
    name = f"{orders.name}-dead"
    url = rabbitmq.at(name)
    dead = topic(url, StoredLetter)
    await orders.publish([Order(n) for n in range(3)])
    came: list[Order] = []
    refused = orders.subscribe("g").tap(came.append).map(refuse, name="refuse", on_error=DeadLetters())
    async with Pipeline("shop", refused.discard(), dead_letters=dead, interval=0.05).start():
        with anyio.fail_after(20):
            while len(came) < 3:
                await anyio.sleep(0.02)
    listed = (await command("list", url, "--json")).objects
    ids = [letter["id"] for letter in listed]
    assert [letter["event"]["number"] for letter in listed] == [0, 1, 2]
    assert "order 0 is refused" in (await command("show", url, ids[0][:8])).out
    assert (await command("edit", url, ids[0][:8], "--event", '{"number": 10}')).code == 0
    done = await command("replay", url, ids[0], ids[1])
    assert (done.code, done.err) == (0, "")
    assert "s3cret" not in done.out
    assert (await command("discard", url, ids[2], "--reason", "a test")).code == 0
    states = {letter["id"]: letter["state"] for letter in (await command("list", url, "--json")).objects}
    assert states == {ids[0]: "replayed", ids[1]: "replayed", ids[2]: "discarded"}
    cleared = await command("clear", url)
    assert cleared.code == 1
    assert "is a log, which keeps what is stored" in cleared.err
    async with opened(orders.source("g")) as source:
        assert numbers(await some(source, 2)) == [10, 1]
    queues = await asyncio.to_thread(rabbitmq.queues)
    assert name in queues
    assert orders.name not in queues, "a replay makes no stream of a topic that has queues"


async def test_many_letters_are_replayed_in_one_session(rabbitmq: RabbitMQ) -> None:
    orders = topic(rabbitmq.topic(groups="g"), Order)
    dead = topic(rabbitmq.topic(), StoredLetter)
    await failed(dead, 30)
    await settled(dead, [7])
    async with dead_letters(dead) as letters:
        chosen = [letter async for letter in letters.list(state="open")]
        for letter in chosen:
            await letter.replay(event=Order(letter.event["number"]), to=orders)
        with pytest.raises(LetterError, match="replayed already"):
            await chosen[0].discard()
    assert await seen(dead, "replayed") == [n for n in range(30) if n != 7]
    async with opened(orders.source("g")) as source:
        assert sorted(numbers(await some(source, 29))) == [n for n in range(30) if n != 7]
        await nothing(source)


async def test_letters_are_retried_until_they_were_tried_so_often(rabbitmq: RabbitMQ) -> None:
    orders = topic(rabbitmq.topic(groups="g"), Order)
    came = await retried(orders, topic(rabbitmq.topic(), StoredLetter))
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
