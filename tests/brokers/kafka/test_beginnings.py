"""Where reading of Kafka begins counts from the opening on: what is published after it is never passed over."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reactor import topic
from tests.brokers.kafka.test_topics import Tick, made, nothing, numbers, opened, take, ticks
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def test_a_group_that_reads_another_topic_begins_at_its_first_opening(kafka: Kafka) -> None:
    group = kafka.unused()
    orders = topic(kafka.url(await made(kafka)), Tick)
    payments = topic(kafka.url(await made(kafka, 3)), Tick)
    await orders.publish(Tick(1))
    await payments.publish(ticks(*range(10, 20)), key=lambda tick: str(tick.number))
    async with opened(orders.source(group)) as other:
        assert numbers(await take(other, 1)) == [1]
        async with opened(payments.source(group, start="latest")):
            pass
        await payments.publish(ticks(*range(20, 40)), key=lambda tick: str(tick.number))
        async with opened(payments.source(group, start="latest")) as source:
            assert sorted(numbers(await take(source, 20))) == [*range(20, 40)]
            await source.commit(20)
            await nothing(source)
        await orders.publish(Tick(2))  # and the group's other member goes on
        assert numbers(await take(other, 1)) == [2]


async def test_a_member_of_both_topics_reads_on_after_it_was_opened(kafka: Kafka) -> None:
    group = kafka.unused()
    orders = topic(kafka.url(await made(kafka)), Tick)
    payments = topic(kafka.url(await made(kafka)), Tick)
    await orders.publish(Tick(1))
    async with opened(orders.source(group)) as other:
        assert numbers(await take(other, 1)) == [1]
        async with opened(payments.source(group, start="latest")) as source:
            await payments.publish(ticks(2, 3))
            await anyio.sleep(0.5)  # nobody has read yet
            await payments.publish(ticks(4, 5))
            assert numbers(await take(source, 4)) == [2, 3, 4, 5]


async def bookmark(source: Any) -> str | None:
    """Return what a checkpoint has of a source that was opened, and closed before it has read."""
    async with opened(source):
        assert source.position() == 0
        found: str | None = source.bookmark(0)
        return found


async def test_a_checkpoint_at_once_knows_where_it_begins(kafka: Kafka) -> None:
    name = await made(kafka, 2)
    ticks_ = topic(kafka.url(name), Tick)
    await ticks_.publish(ticks(*range(10)), key=lambda tick: str(tick.number))
    mark = await bookmark(ticks_.source(start="latest"))
    await ticks_.publish(ticks(*range(10, 20)), key=lambda tick: str(tick.number))
    await anyio.to_thread.run_sync(kafka.grow, name, 4)
    source = ticks_.source(start="latest")
    async with opened(source):
        await source.restore(0, mark)
        assert sorted(numbers(await take(source, 10))) == [*range(10, 20)]


@pytest.mark.parametrize("restart", ["seek", "restore"])
async def test_new_partitions_are_read_from_their_beginning_after_a_restart(
    kafka: Kafka, restart: str
) -> None:
    name = await made(kafka)
    ticks_ = topic(kafka.url(name), Tick)
    await ticks_.publish(ticks(1, 2))
    source = ticks_.source(start="latest")
    mark = await bookmark(source)
    await anyio.to_thread.run_sync(kafka.grow, name, 4)
    known: set[str] = set()
    sent: list[int] = []
    while len(known) < 4:  # until a producer knows of them, too
        await ticks_.publish(
            ticks(*(new := range(len(sent), len(sent) + 20))), key=lambda tick: str(tick.number)
        )
        sent += new
        places = [record.place or "" async for record in ticks_.records("earliest")]
        known = {place.partition("@")[0] for place in places}
    again = source if restart == "seek" else ticks_.source(start="latest")
    async with opened(again):
        await (again.seek(0) if restart == "seek" else again.restore(0, mark))
        assert sorted(numbers(await take(again, len(sent)))) == sent


async def test_an_opening_in_vain_moves_no_beginning(kafka: Kafka) -> None:
    ticks_ = topic(kafka.url(await made(kafka, 2)), Tick)
    source = ticks_.source(start="latest")
    mark = await bookmark(source)
    await ticks_.publish(ticks(*range(20)), key=lambda tick: str(tick.number))
    async with opened(source):
        pass  # whoever opens it fails before it can be sought
    assert source.bookmark(0) == mark
    async with opened(source):
        await source.seek(0)
        assert sorted(numbers(await take(source, 20))) == [*range(20)]
        assert source.position() == 20
