"""What messages look like, to others and from others; and their limits."""

from __future__ import annotations

import time

import anyio
import anyio.to_thread
import msgspec
import pytest

from reactor.connectors.brokers import Broker
from reactor.core import Refused, TopicError
from tests.brokers.sqs.reading import (
    PATIENCE,
    Tick,
    bare,
    numbers,
    opened,
    take,
    ticks,
)
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_messages_of_others_are_read(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    async with opened(them.source("g")) as source, bare(ministack, them.name) as queue:
        before = time.time()
        await queue.send('{"number": 1}')
        [one] = await take(source, 1)
        assert (one.value, one.key, dict(one.headers)) == (Tick(1), None, {})
        assert before - 60 < one.time / 1e6 < time.time() + 60
        await queue.send('{"number": 2}', shop="north")
        [two] = await take(source, 1)
        assert (two.value, dict(two.headers)) == (Tick(2), {"shop": "north"})
        await queue.send(
            '{"number": 3}',
            ce_type="Tick",
            ce_id="x",
            ce_source="them",
            ce_specversion="1.0",
            ce_time="2030-01-02T03:04:05Z",
            ce_partitionkey="k",
            content_type="application/json",
            extra="1",
        )
        [three] = await take(source, 1)
        assert (three.value, three.key, dict(three.headers)) == (Tick(3), "k", {"extra": "1"})
        assert three.time == 1_893_553_445_000_000
        event = {"specversion": "1.0", "id": "7", "source": "s", "type": "Tick", "data": {"number": 4}}
        await queue.send(
            msgspec.json.encode(event).decode(), content_type="application/cloudevents+json; charset=utf-8"
        )
        [four] = await take(source, 1)
        assert four.value == Tick(4)


async def test_others_can_read_the_body(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    await them.publish(Tick(1, "ä"), key="k", headers={"shop": "nörth"})
    async with bare(ministack, them.name) as queue:
        [message] = await queue.receive()
    assert msgspec.json.decode(message["Body"]) == {"number": 1, "text": "ä"}
    headers = msgspec.json.decode(message["MessageAttributes"]["reactor-headers"]["StringValue"])
    assert (headers["ce-type"], headers["ce-partitionkey"], headers["shop"]) == ("Tick", "k", "nörth")


async def test_bytes_that_are_no_text_come_back_as_they_were(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    log = them._log
    assert isinstance(log, Broker)
    data = [b"", b"\x00\xff\xfe", "\ufffe\ud7ff".encode(), b"a\r\nb\t", b"\x0b", "ä\U0001f600".encode(), b"-"]
    producer, consumer = log.producer(), log.consumer("g", start="earliest", follow=True)
    try:
        await producer.open()
        await producer.send([(None, "Tick", None, None, 5, each) for each in data])
        await producer.flush()
        await consumer.open()
        found: list[bytes] = []
        with anyio.fail_after(PATIENCE):
            while len(found) < len(data):
                found += [each.data for each in await consumer.receive(10) or ()]
    finally:
        await producer.close()
        await consumer.close()
    assert sorted(found) == sorted(data)


async def test_what_is_too_large_is_named_before_anything_is_sent(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    with pytest.raises(Refused, match="largest=") as caught:
        await them.publish([Tick(1), Tick(2, "x" * 262_000), Tick(3), Tick(4, "ä" * 140_000)])
    assert set(caught.value.errors) == {1, 3}
    async with bare(ministack, them.name) as queue:
        assert await queue.left() == (0, 0)
    larger = ticks(ministack.topic(), largest=1_048_576)
    await larger.publish([Tick(n, "x" * 400_000) for n in range(4)])
    async with opened(larger.source("g")) as source:
        assert sorted(numbers(await take(source, 4))) == [0, 1, 2, 3]


async def test_flush_returns_when_the_queue_has_all(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    sink = them.sink()
    try:
        await sink.open()
        async with bare(ministack, them.name) as queue:
            for first in range(0, 600, 200):
                await sink.write([Tick(n) for n in range(first, first + 200)])
            await sink.flush()
            assert await queue.left() == (600, 0)
    finally:
        await sink.close()


async def test_a_message_that_the_queue_refuses_fails_the_sink(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    async with them:
        await them.publish(Tick(1))
        async with bare(ministack, them.name) as queue:  # after the sink has asked what may be sent
            await queue.client.set_queue_attributes(
                QueueUrl=queue.address, Attributes={"MaximumMessageSize": "1024"}
            )
            with pytest.raises(TopicError, match="1024"):
                await them.publish([Tick(2), Tick(3, "x" * 5000), Tick(4)])
