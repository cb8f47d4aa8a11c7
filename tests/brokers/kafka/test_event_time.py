"""Event time over the partitions of a real topic: the one that is furthest behind sets the pace."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from confluent_kafka import Producer

from reactor import Checkpoints, Pipeline, Stream, Tumbling, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import Source
from tests.brokers.kafka.test_groups import until
from tests.brokers.kafka.test_patterns import Family
from tests.brokers.kafka.test_topics import Tick, made, opened, produce, take
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def put(kafka: Kafka, name: str, partition: int, *seconds: int) -> None:
    """Events of these times, into one partition."""

    def send(producer: Producer) -> None:
        for second in seconds:
            producer.produce(name, b'{"number":%d}' % second, partition=partition)

    await anyio.to_thread.run_sync(produce, kafka, name, send)


class Counts:
    """Windows of ten seconds of the ticks' numbers."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.late: list[int] = []
        self.seen = 0
        self.takes = 0.0
        """Seconds for each event."""

    def pipeline(self, ticks: Stream[Tick], idle: float | None, **settings: Any) -> Pipeline:
        def see(tick: Tick) -> bool:
            self.seen += 1
            end = time.perf_counter() + self.takes
            while time.perf_counter() < end:
                pass
            return True

        timed = ticks.filter(see).event_time(lambda tick: tick.number, unit="s", idle=idle)
        counted = timed.window(Tumbling(10), name="counted", volatile="checkpoint" not in settings).count()
        return Pipeline(
            "counts",
            counted.to(lambda found: self.counts.update({found.window.start // 1_000_000: found.value})),
            counted.late.to(lambda tick: self.late.append(tick.number)),
            interval=0.1,
            **settings,
        )

    @asynccontextmanager
    async def running(self, ticks: Stream[Tick], idle: float | None, **settings: Any) -> AsyncIterator[Any]:
        async with self.pipeline(ticks, idle, **settings).start(drain=10) as run:
            yield run


async def test_a_partition_that_is_ahead_makes_the_others_not_late(kafka: Kafka) -> None:
    name = await made(kafka, 2)
    await put(kafka, name, 0, *range(100))
    counts = Counts()
    ticks = topic(kafka.url(name), Tick).subscribe("g")
    async with counts.running(ticks, idle=60):
        await until(lambda: counts.seen == 100, lambda: counts.seen)
        assert counts.counts == {}  # partition 1 may have anything yet
        await put(kafka, name, 1, *range(45))
        await until(lambda: len(counts.counts) == 4, lambda: counts.counts)
    assert (counts.counts, counts.late) == (dict.fromkeys((0, 10, 20, 30), 20), [])


async def test_a_partition_that_has_nothing_holds_up_nobody_for_ever(kafka: Kafka) -> None:
    name = await made(kafka, 3)
    await put(kafka, name, 0, *range(35))
    await put(kafka, name, 1, *range(25))
    counts = Counts()
    async with counts.running(topic(kafka.url(name), Tick).subscribe("g"), idle=0.5):
        await until(lambda: len(counts.counts) >= 2, lambda: counts.counts)
        assert counts.counts[0] == counts.counts[10] == 20


async def test_one_that_is_read_far_behind_the_others_is_waited_for(kafka: Kafka) -> None:
    """Here the fetches decide which partition comes first; whatever that is, nothing is late."""
    name = await made(kafka, 4)
    for partition, step in enumerate((1, 5, 50, 500)):
        await put(kafka, name, partition, *range(0, 20_000, step))
    counts = Counts()
    ticks = topic(kafka.url(name), Tick, config=Options(prefetch=100)).read()
    await counts.pipeline(ticks, None).run()
    assert counts.late == []
    assert sum(counts.counts.values()) == counts.seen == 20_000 + 4_000 + 400 + 40


async def test_what_waits_for_its_turn_is_not_idle(kafka: Kafka) -> None:
    """While a slow pipeline catches up, nothing comes of some partitions for much longer than idle=."""
    name = await made(kafka, 3)
    for partition, step in enumerate((4, 40, 400)):
        await put(kafka, name, partition, *range(0, 20_000, step))
    counts = Counts()
    counts.takes = 0.0002
    async with counts.running(topic(kafka.url(name), Tick).subscribe("g"), idle=0.05, chunk=100):
        await until(lambda: counts.seen == 5550, lambda: counts.seen)
    assert counts.late == []


async def test_topics_of_a_pattern_are_partitions_too(kafka: Kafka) -> None:
    family = Family(kafka)
    eu, us = await family.make("eu"), await family.make("us")
    await put(kafka, eu.name, 0, *range(100))
    counts = Counts()
    async with counts.running(family.all().subscribe("g"), idle=60):
        await until(lambda: counts.seen == 100, lambda: counts.seen)
        await put(kafka, us.name, 0, *range(25))
        await until(lambda: len(counts.counts) == 2, lambda: counts.counts)
    assert (counts.counts, counts.late) == ({0: 20, 10: 20}, [])


async def test_the_partitions_times_are_in_the_checkpoint(kafka: Kafka, tmp_path: Path) -> None:
    name = await made(kafka, 2)
    await put(kafka, name, 0, *range(55))
    await put(kafka, name, 1, *range(15))
    store = Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.1, spacing=0.02)
    ticks = topic(kafka.url(name), Tick)
    first, second = Counts(), Counts()
    async with first.running(ticks.subscribe("g"), idle=60, checkpoint=store) as run:
        await until(lambda: first.seen == 70 and first.counts, lambda: (first.seen, first.counts))
        await run.checkpoint()
    assert first.counts == {0: 20}
    await put(kafka, name, 1, 31, 29, 45)
    async with second.running(ticks.subscribe("g"), idle=60, checkpoint=store):
        await until(lambda: len(second.counts) == 3, lambda: second.counts)
    assert second.late == [29]  # partition 0 has given nothing to this run, and was at 54
    assert second.counts == {10: 15, 20: 10, 30: 11}


async def test_a_source_tells_its_partitions(kafka: Kafka) -> None:
    name = await made(kafka, 2)
    ticks = topic(kafka.url(name), Tick, config=Options(session_timeout=6.0))
    one: Any = ticks.source("g")
    two: Any = ticks.source("g")
    async with opened(one), opened(two):
        assert set(one.parts()) == set()
        with anyio.fail_after(20):
            while set(one.parts()) != {"0", "1"}:
                assert await one.read(10) == []
        await put(kafka, name, 0, 1, 2, 3)
        await put(kafka, name, 1, 4)
        records = await take(one, 4)
        assert {record.part for record in records} == {"0", "1"}
        await put(kafka, name, 1, 5)

        parts = one._consumer._reader.parts

        def quiet() -> set[str]:
            return set(one.quiet(["0", "1"]))

        async def answered() -> None:
            """Wait for what the brokers say; they are asked again where they took too long."""
            with anyio.fail_after(20):
                while parts.wanted or set(parts._asked) != {"0", "1"}:
                    if not parts.wanted:
                        quiet()
                    await anyio.sleep(0.02)

        quiet()
        await answered()
        assert quiet() == {"0"}
        await answered()
        await put(kafka, name, 0, 6)
        assert quiet() == {"0"}  # it has given all that there was when it was asked before
        await take(one, 2)
        await answered()
        assert quiet() == {"0", "1"}
        await one.commit(6)

        async def reads(source: Source[Tick]) -> None:
            while True:
                await source.read(10)
                if source.position():
                    await source.commit(source.position() or 0)

        with anyio.move_on_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reads, one)
                tasks.start_soon(reads, two)
                await until(
                    lambda: len(one.parts()) == len(two.parts()) == 1, lambda: (one.parts(), two.parts())
                )
                tasks.cancel_scope.cancel()
        assert {*one.parts(), *two.parts()} == {"0", "1"}


async def test_a_partition_that_is_read_to_its_end_leaves(kafka: Kafka) -> None:
    name = await made(kafka, 3)
    await put(kafka, name, 0, 1, 2, 3)
    await put(kafka, name, 1, 4)
    source = topic(kafka.url(name), Tick).source(follow=False)
    async with opened(source):
        assert set(source.parts()) == set()  # it hasn't begun
        given: dict[str | None, int] = {"0": 3, "1": 1, "2": 0}
        with anyio.fail_after(20):
            while (records := await source.read(1)) is not None:
                for record in records:
                    given[record.part] -= 1
                assert set(source.parts()) >= {part for part, left in given.items() if left}
        assert (set(given.values()), set(source.parts())) == ({0}, set())
