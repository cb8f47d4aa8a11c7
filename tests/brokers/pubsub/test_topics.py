"""Subscriptions, ordering keys, messages of others, dead-letter topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor import topic
from reactor.core import ArgumentError, TopicError
from tests.brokers.pubsub.ticks import Tick, numbers, opened, take
from tests.servers.pubsub import PubSubEmulator

pytestmark = pytest.mark.anyio

Call = Callable[..., Any]


async def test_a_sink_makes_the_subscriptions_of_groups_that_come_later(
    pubsub: PubSubEmulator, name: str
) -> None:
    ticks = topic(pubsub.url(name, groups="email,pay ment"), Tick)
    await ticks.publish([Tick(1), Tick(2)])
    for group in ("email", "pay ment"):
        async with opened(ticks.source(group)) as source:
            assert sorted(numbers(await take(source, 2, commit=True))) == [1, 2]


async def test_the_subscription_of_a_reader_without_a_group_is_removed(
    pubsub: PubSubEmulator, name: str, call: Call
) -> None:
    ticks = topic(pubsub.url(name), Tick)

    def there() -> list[str]:
        return list(call("list_topic_subscriptions", topic=f"projects/shop/topics/{name}"))

    async with opened(ticks.source()) as source:
        await ticks.publish(Tick(1))
        assert numbers(await take(source, 1)) == [1]
        assert len(await anyio.to_thread.run_sync(there)) == 1
    assert await anyio.to_thread.run_sync(there) == []


async def test_order_is_kept_per_key_when_messages_come_again(pubsub: PubSubEmulator, name: str) -> None:
    ticks = topic(pubsub.url(name, groups="g"), Tick)
    async with ticks:
        for first in range(0, 60, 6):
            await ticks.publish(
                [Tick(n) for n in range(first, first + 6)], key=lambda one: f"k{one.number % 3}"
            )
    seen: dict[str, list[int]] = {}
    left = 60
    while left:  # a few are settled, and the rest goes back
        async with opened(ticks.source("g")) as source:
            records = await take(source, min(7, left))
            settled = min(4, left)
            await source.commit((source.position() or 0) - len(records) + settled)
            for record in records[:settled]:
                seen.setdefault(str(record.key), []).append(record.value.number)
            left -= settled
    assert seen == {f"k{k}": list(range(k, 60, 3)) for k in range(3)}


async def test_a_request_has_one_ordering_key(pubsub: PubSubEmulator, name: str, call: Call) -> None:
    ticks = topic(pubsub.url(name, groups="g"), Tick)
    await ticks.publish([Tick(n) for n in range(3)], key="a key")
    await ticks.publish(Tick(3))

    def pulled() -> list[Any]:
        found: list[Any] = []
        while len(found) < 4:
            answer = call("pull", subscription=f"projects/shop/subscriptions/{name}-g", max_messages=10)
            found += [received.message for received in answer.received_messages]
            ids = [received.ack_id for received in answer.received_messages]
            call("acknowledge", subscription=f"projects/shop/subscriptions/{name}-g", ack_ids=ids)
        return sorted(found, key=lambda message: message.data)

    messages = await anyio.to_thread.run_sync(pulled)
    assert [message.ordering_key for message in messages] == ["a key"] * 3 + [""]
    assert messages[0].attributes["ce-type"] == "Tick"
    assert messages[0].attributes["content-type"] == "application/json"
    assert "ce-partitionkey" not in messages[0].attributes


async def test_without_ordering_the_key_is_an_attribute(pubsub: PubSubEmulator, name: str) -> None:
    ticks = topic(pubsub.url(name, groups="g", ordering="false"), Tick)
    await ticks.publish([Tick(n) for n in range(3000)], key=lambda one: f"k{one.number}")
    async with opened(ticks.source("g")) as source:
        records = await take(source, 3000)  # nothing is settled: no key holds another message up
        assert {record.key: record.value.number for record in records} == {f"k{n}": n for n in range(3000)}
        await source.commit(3000)
    with pytest.raises(TopicError, match=r"keeps no order.*ordering=false"):
        async with opened(topic(pubsub.url(name), Tick).source("g")):
            pass


async def test_messages_of_others_are_read(pubsub: PubSubEmulator, name: str, call: Call) -> None:
    ticks = topic(pubsub.url(name, groups="g"), Tick)
    async with opened(ticks.source("g")) as source:

        def publish() -> None:
            message = {"data": b'{"number":7}', "attributes": {"shop": "x"}, "ordering_key": "k"}
            call("publish", topic=f"projects/shop/topics/{name}", messages=[message])

        await anyio.to_thread.run_sync(publish)
        [record] = await take(source, 1, commit=True)
    assert record.value == Tick(7)
    assert record.key == "k"
    assert dict(record.headers) == {"shop": "x"}
    assert record.time is not None
    assert record.time > 1_700_000_000_000_000  # when it was published
    assert record.place


async def test_what_was_delivered_in_vain_goes_to_the_dead_letter_topic(
    pubsub: PubSubEmulator, name: str
) -> None:
    dead = topic(pubsub.url(f"{name}-dead", groups="ops"), Tick)
    async with dead:
        await dead.publish(Tick(0))
        # With ordering the emulator's pulls hang, once it has moved a message.
        options = {"dead_letter": f"{name}-dead", "max_delivery_attempts": 5, "ordering": "false"}
        ticks = topic(pubsub.url(name, groups="g", **options), Tick)
        await ticks.publish(Tick(1))
        async with opened(dead.source("ops")) as letters:
            assert numbers(await take(letters, 1, commit=True)) == [0]
            for _ in range(5):
                async with opened(ticks.source("g")) as source:
                    await take(source, 1)
            async with opened(ticks.source("g")) as source:
                with anyio.move_on_after(1) as waiting:  # nothing comes: that is when the emulator moves it
                    await source.read(1)
                assert waiting.cancelled_caught
                assert numbers(await take(letters, 1, commit=True)) == [1]


async def test_names_of_groups_are_escaped(pubsub: PubSubEmulator, name: str, call: Call) -> None:
    ticks = topic(pubsub.url(name), Tick)
    async with opened(ticks.source("größe/1")):
        pass
    found = await anyio.to_thread.run_sync(
        lambda: list(call("list_topic_subscriptions", topic=f"projects/shop/topics/{name}"))
    )
    assert found == [f"projects/shop/subscriptions/{name}-gr%C3%B6%C3%9Fe%2F1"]
    with pytest.raises(ArgumentError, match="3 to 255"):
        ticks.source("g" * 260)
