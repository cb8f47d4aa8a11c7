"""What the server doesn't take, and what no queue is there for any more: it is told, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import anyio
import pytest

from reactor import Pipeline, Retry, Skip, Stream, Topic, topic
from reactor.connectors.rabbitmq import RabbitMQBroker, producer
from reactor.connectors.rabbitmq.producer import RabbitMQProducer
from reactor.core import Refused, TopicError
from tests.brokers.rabbitmq.test_topics import opened, some
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.asyncio

LARGE = "x" * 17_000_000


def texts(url: str) -> Topic[str]:
    return topic(url, str)


async def stored(url: str, group: str | None, count: int) -> set[str]:
    """Return what the group gets, or a stream's reader; it is as many different ones."""
    found: set[str] = set()
    start = "latest" if group else "earliest"
    async with opened(texts(url).source(group, start=start)) as source:
        while len(found) < count:
            found |= {record.value for record in await some(source, 1)}
    return found


async def told(rabbitmq: RabbitMQ, call: Callable[[Any], Awaitable[Any]]) -> None:
    """Have something done at the server, by a connection of its own."""
    connection = await aiormq.connect(rabbitmq.at("").removesuffix("/") + "/")
    await call(await connection.channel())
    await connection.close()


@asynccontextmanager
async def producing(url: str) -> AsyncIterator[RabbitMQProducer]:
    log = texts(url)._log
    assert isinstance(log, RabbitMQBroker)
    found = log.producer()
    assert isinstance(found, RabbitMQProducer)
    try:
        await found.open()
        yield found
    finally:
        await found.close()


def entries(*said: str) -> list[Any]:
    return [(None, "str", None, None, 0, f'"{each}"'.encode()) for each in said]


@pytest.mark.parametrize("on_error", [None, Skip()])
async def test_the_event_that_is_too_large_for_the_server_is_named(rabbitmq: RabbitMQ, on_error: Any) -> None:
    url = rabbitmq.topic(groups="all", largest=40_000_000)
    few = Stream([*"abc", LARGE, "d"])
    options: dict[str, Any] = {} if on_error is None else {"on_error": on_error}
    run = Pipeline("writes", few.to(texts(url), retry=Retry(2, initial=0.01), **options)).run()
    if on_error is None:
        with pytest.raises(TopicError, match="largest=16777216"):
            await run
    else:
        await run
    assert await stored(url, "all", 4) == set("abcd")


async def test_a_message_that_is_too_large_is_never_forgotten(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it isn't known which event it is, as the server takes less than any does."""
    monkeypatch.setattr(producer, "_SURE", 40_000_000)
    url = rabbitmq.topic(groups="all", largest=40_000_000)
    sink = texts(url).sink()
    await sink.open()
    try:
        await sink.write(["a", "b", LARGE])
        for _ in range(3):
            with anyio.fail_after(30), pytest.raises(TopicError, match=r"16777216.*largest="):
                await sink.flush()
    finally:
        await sink.close()
    assert await stored(url, "all", 2) == {"a", "b"}


@pytest.mark.parametrize("name", ["CC", "BCC"])
async def test_a_header_that_names_queues_is_refused(rabbitmq: RabbitMQ, name: str) -> None:
    async with texts(rabbitmq.topic(groups="all")) as shop:
        with anyio.fail_after(20), pytest.raises(Refused, match=f"a header {name} "):
            await shop.publish("a", headers={name: "ann@example.org"})
        await shop.publish("b", headers={name.lower(): "ann@example.org"})
        async with opened(shop.source("all")) as source:
            assert [record.value for record in await some(source, 1)] == ["b"]


async def test_a_user_who_may_not_write(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    async def may(write: str) -> None:
        await asyncio.to_thread(rabbitmq.control, "set_permissions", "reader", ".*", write, ".*")

    await asyncio.to_thread(rabbitmq.control, "add_user", "reader", "pw")
    await may("^$")
    url = rabbitmq.topic()
    async with opened(texts(url).source("all")) as source:
        async with producing(url.replace(url[: url.index("@")], "amqp://reader:pw")) as writer:
            await writer.send(entries("a"))
            for _ in range(2):
                with (
                    anyio.fail_after(20),
                    pytest.raises(TopicError, match=r"ACCESS_REFUSED.*the right to write"),
                ):
                    await writer.flush()
            with monkeypatch.context() as patch:
                # As for what the server closes a connection for in other words: there are pauses.
                patch.setattr(producer, "is_refusal", lambda reason: False)
                before = writer._link.generation
                with anyio.move_on_after(1):
                    await writer.flush()
                assert writer._link.generation - before < 10
                await may(".*")
                with anyio.fail_after(30):
                    await writer.flush()
        assert [record.value for record in await some(source, 1)] == ["a"]


async def test_a_stream_that_is_deleted_is_made_again(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic(queue="stream")
    async with producing(url) as writer:
        await writer.send(entries("a"))
        await writer.flush()
        await told(rabbitmq, lambda channel: channel.queue_delete(texts(url).name))
        # Of two with the same id the client takes one for the other; an id of 300 bytes it doesn't see.
        many = [("same", *each[1:]) for each in entries("b", "c")]
        many += [("i" * 300, *each[1:]) for each in entries("d")]
        await writer.send([*many, *entries("e", "f")])
        with anyio.fail_after(30):
            await writer.flush()
    assert await stored(url, None, 5) == set("bcdef")


async def test_a_queue_of_groups_is_made_again(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic(groups="all")
    async with producing(url) as writer:
        await writer.send(entries("a"))
        await writer.flush()
        await told(rabbitmq, lambda channel: channel.queue_delete(f"{texts(url).name}.all"))
        await writer.send(entries(*"bcd"))
        with anyio.fail_after(30):
            await writer.flush()
    assert await stored(url, "all", 3) == set("bcd")


async def test_an_exchange_that_is_deleted_is_told(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.topic()
    async with opened(texts(url).source("all")):
        pass
    async with producing(url) as writer:
        await told(rabbitmq, lambda channel: channel.exchange_delete(texts(url).name))
        await writer.send(entries(*"abc"))
        for _ in range(2):
            with anyio.fail_after(30), pytest.raises(TopicError, match="its exchange was deleted"):
                await writer.flush()
        async with opened(texts(url).source("all")) as source:  # it binds its queue again
            with anyio.fail_after(30):
                await writer.flush()
            assert {record.value for record in await some(source, 3)} == set("abc")


async def test_it_is_an_error_when_events_go_nowhere_any_more(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbitmq.topic()
    async with opened(texts(url).source("all")):
        pass
    async with texts(url) as shop:
        await shop.publish("a")
        await told(rabbitmq, lambda channel: channel.queue_delete(f"{shop.name}.all"))
        await shop.publish(["b", "c"])
        await shop.publish("d")
    (said,) = [record for record in caplog.records if record.name == "reactor"]
    assert said.levelname == "ERROR"
    assert "goes nowhere any more" in said.getMessage()
