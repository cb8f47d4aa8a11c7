"""Where reading goes on: checkpoints know of quiet partitions, too, and count more than what the group has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest
from confluent_kafka import Consumer, Producer

from reactor import topic
from reactor.connectors.kafka.lives import Lives
from reactor.connectors.kafka.names import Names
from reactor.connectors.kafka.starts import Starts
from reactor.core import Source, TopicError
from tests.brokers.kafka.test_topics import Tick, made, numbers, opened, produce, take, ticks
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def send(kafka: Kafka, name: str, partition: int, *values: int) -> None:
    def sends(producer: Producer) -> None:
        for value in values:
            producer.produce(name, msgspec.json.encode(Tick(value)), partition=partition)

    await anyio.to_thread.run_sync(produce, kafka, name, sends)


async def owned(source: Source[Any], count: int) -> Sequence[int]:
    """Read until a member has so many partitions, and return what came meanwhile."""
    found: list[int] = []
    with anyio.fail_after(40):
        while len(source.parts()) < count:
            with anyio.move_on_after(0.1):
                found += numbers(await source.read(10) or ())
    return found


@pytest.mark.parametrize("group", ["same", "unknown"])
async def test_a_checkpoint_of_a_group_knows_quiet_partitions(kafka: Kafka, group: str) -> None:
    name = await made(kafka, 2)
    ticks_ = topic(kafka.url(name), Tick)
    its = kafka.unused()
    await send(kafka, name, 0, 1, 2, 3)
    async with opened(ticks_.source(its)) as source:
        assert numbers(await take(source, 3)) == [1, 2, 3]
        mark = source.bookmark(3)
        await source.commit(3)
        await send(kafka, name, 1, 101, 102, 103)
        await take(source, 3)
        await source.commit(6)
    again = ticks_.source(its if group == "same" else kafka.unused(), start="latest")
    async with opened(again):
        await again.restore(3, mark)
        assert numbers(await take(again, 3)) == [101, 102, 103]
        assert again.bookmark(6) != mark


async def test_what_was_restored_goes_on_after_a_rebalance(kafka: Kafka) -> None:
    """The group knows more than was read since then."""
    name = await made(kafka, 2)
    ticks_ = topic(kafka.url(name), Tick)
    its = kafka.unused()
    async with opened(ticks_.source(its)) as source:
        assert await owned(source, 2) == []
        mark = source.bookmark(0)
        await send(kafka, name, 0, *range(10))
        await send(kafka, name, 1, *range(10, 20))
        await take(source, 20)
        await source.commit(20)
    again = ticks_.source(its)
    async with opened(again):
        await again.restore(0, mark)
        seen = {*numbers(await take(again, 1))}
        async with opened(ticks_.source(its)) as other:
            await owned(other, 1)
        with anyio.fail_after(40):
            while len(seen) < 20:
                seen |= {*numbers(await again.read(20) or ())}


@pytest.mark.parametrize(
    ("begun", "delivered", "known", "sought"),
    [(3, 4, 7, 4), (3, -1, 7, 3), (3, 7, 7, None), (100, 50, 100, None), (-2, -1, 7, None)],
    ids=["restored", "restored-quiet", "read-on", "another-members-work", "new"],
)
def test_a_partition_goes_back_only_to_what_was_restored(
    begun: int, delivered: int, known: int, sought: int | None
) -> None:
    starts = Starts(Lives(Names("orders")), "earliest", lambda call: call(1.0), group=True)
    starts.begun["0"] = begun
    starts.gone("0", delivered, known)
    assert starts.sought.get("0") == sought


async def test_a_member_keeps_no_beginnings_of_others_partitions(kafka: Kafka) -> None:
    name = await made(kafka, 2)
    ticks_ = topic(kafka.url(name), Tick)
    its = kafka.unused()
    async with opened(ticks_.source(its)) as one, opened(ticks_.source(its)) as two:
        await owned(one, 2)
        await owned(two, 1)
        with anyio.fail_after(40):
            while len(parts(one)) > 1 or not parts(two):
                await anyio.sleep(0.02)
        assert parts(one) | parts(two) == {"0", "1"}


def parts(source: Source[Any]) -> set[str]:
    """Return the partitions of which its checkpoint would know."""
    return {name for name in msgspec.json.decode(source.bookmark(0) or "{}") if "#" not in name}


async def test_who_has_to_join_at_its_opening_is_restored(kafka: Kafka) -> None:
    name = await made(kafka)
    orders, payments = topic(kafka.url(await made(kafka)), Tick), topic(kafka.url(name), Tick)
    its = kafka.unused()
    await orders.publish(Tick(0))
    await payments.publish(ticks(1, 2, 3))
    async with opened(payments.source(kafka.unused())) as source:
        await take(source, 1)
        mark = source.bookmark(1)
    async with opened(orders.source(its)) as other:
        await take(other, 1)
        for start in ("latest", "earliest"):
            async with opened(payments.source(its, start=start)) as source:
                await source.restore(1, mark)
                assert numbers(await take(source, 2)) == [2, 3]


async def test_a_group_that_deals_otherwise_is_told(kafka: Kafka) -> None:
    name, its = await made(kafka), kafka.unused()
    theirs = Consumer(
        {"bootstrap.servers": kafka.servers, "group.id": its, "partition.assignment.strategy": "range"}
    )

    def join() -> None:
        theirs.subscribe([name])
        until = time.monotonic() + 40
        while not theirs.assignment() and time.monotonic() < until:
            theirs.poll(0.1)

    try:
        await anyio.to_thread.run_sync(join)
        async with opened(topic(kafka.url(name), Tick).source(its)) as source:
            with pytest.raises(TopicError, match=r"give it a group of its own"), anyio.fail_after(40):
                await source.read(1)
    finally:
        await anyio.to_thread.run_sync(theirs.close)


async def test_what_comes_while_a_time_is_asked_for_is_read(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await made(kafka)
    ticks_ = topic(kafka.url(name), Tick)
    hour = timedelta(hours=1)
    await ticks_.publish(ticks(1, 2), time=datetime.now(UTC) - 2 * hour)
    asked = Starts._at

    def at(self: Starts, consumer: Consumer, names: Sequence[str], at: int) -> dict[str, int]:
        found = asked(self, consumer, names, at)
        produce(kafka, name, lambda producer: producer.produce(name, b'{"number":3}', partition=0))
        return found

    monkeypatch.setattr(Starts, "_at", at)
    async with opened(ticks_.source(kafka.unused(), start=datetime.now(UTC) - hour)) as source:
        [record] = await take(source, 1)
        assert (record.place or "").endswith("@2")
