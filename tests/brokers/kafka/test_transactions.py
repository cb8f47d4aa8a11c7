"""Exactly once into Kafka: what a checkpoint has decided is published in one transaction, and once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from confluent_kafka import Consumer, TopicPartition

from reactor import topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import Refused, Sink
from reactor.testing.transactions import Entry, TransactionSuite
from reactor.topics import Topic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def read(kafka: Kafka, entries: Topic[Any]) -> list[Any]:
    """What everybody sees."""
    await anyio.to_thread.run_sync(kafka.decided, entries.name)
    return [record.value async for record in entries.records("earliest")]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


class TestKafka(TransactionSuite):
    @pytest.fixture(autouse=True)
    def _topic(self, kafka: Kafka) -> None:
        name = kafka.topic()
        self.kafka = kafka
        self.topic: Topic[Any] = topic(
            kafka.url(name), Entry, config=Options(transactions=True, staging=f"staging-{name}")
        )

    def make(self) -> Sink[Entry]:
        return self.topic.sink()

    async def seen(self) -> Sequence[Entry]:
        return await read(self.kafka, self.topic)


async def test_more_than_is_kept_in_memory_is_read_back(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.kafka.transactions._KEPT_BYTES", 0)
    name = await anyio.to_thread.run_sync(kafka.topic)
    options = Options(transactions=True, staging=f"staging-{name}")
    entries: Topic[Any] = topic(kafka.url(name), Entry, config=options)
    sink = entries.sink()

    async def seen() -> list[int]:
        return [entry.number for entry in await read(kafka, entries)]

    try:
        await sink.open()
        await sink.recover("mine", 0, 1)
        await sink.write([Entry(n) for n in range(6000)])
        await sink.prepare(1)
        await sink.write([Entry(n) for n in range(6000, 12000)])  # staged before the first are published
        await sink.publish(1)
        assert await seen() == list(range(6000))
        await sink.prepare(2)
        await sink.write([Entry(12000)])
        await sink.prepare(3)
        await sink.publish(3)
        await sink.write([Entry(12001)])
        await sink.prepare(4)
        await sink.publish(4)
        assert await seen() == list(range(12002))
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def test_what_is_published_is_deleted_from_the_journal(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.kafka.journal._TRIM", 0)
    name = await anyio.to_thread.run_sync(kafka.topic)
    entries: Topic[Any] = topic(
        kafka.url(name), Entry, config=Options(transactions=True, staging=f"staging-{name}")
    )
    sink: Any = entries.sink()
    try:
        await sink.open()
        await sink.recover("mine", 0, 1)
        for number in range(1, 6):
            await sink.write([Entry(number)])
            await sink.prepare(number)
            await sink.publish(number)
        journal = sink._staging._journal.topic

        def begins() -> int:
            consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "raw"})
            low, high = consumer.get_watermark_offsets(TopicPartition(journal, 0), timeout=20)
            consumer.close()
            assert high > low
            return int(low)

        with anyio.fail_after(20):
            while await anyio.to_thread.run_sync(begins) < 10:
                await anyio.sleep(0.05)
        await sink.recover("mine", 5, 2)  # the state is there still
        await sink.write([Entry(6)])
        await sink.prepare(6)
        await sink.publish(6)
        assert [entry.number for entry in await read(kafka, entries)] == [1, 2, 3, 4, 5, 6]
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def test_an_event_too_large_is_refused_before_it_is_staged(kafka: Kafka) -> None:
    name = await anyio.to_thread.run_sync(kafka.topic)
    entries: Topic[Any] = topic(
        kafka.url(name), Entry, config=Options(transactions=True, staging=f"staging-{name}")
    )
    sink = entries.sink()
    try:
        await sink.open()
        await sink.recover("mine", 0, 1)
        with pytest.raises(Refused) as caught:
            await sink.write([Entry(1), Entry(2, "x" * 1_000_000)])
        assert set(caught.value.errors) == {1}
        await sink.write([Entry(1), Entry(3, "x" * 999_000)])
        await sink.prepare(1)
        await sink.publish(1)
        assert [entry.number for entry in await read(kafka, entries)] == [1, 3]
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()
