"""Exactly once into Kafka, where a broker refuses what is staged or published: it is said, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

from reactor import topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import TopicError
from reactor.testing.transactions import Entry
from reactor.topics import Topic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def made(kafka: Kafka, **settings: str) -> str:
    return await anyio.to_thread.run_sync(lambda: kafka.topic(**settings))


def transactional(kafka: Kafka, name: str, *, staging: str = "", **options: Any) -> Topic[Any]:
    config = Options(transactions=True, staging=staging or f"staging-{name}", **options)
    return topic(kafka.url(name), Entry, config=config)


@asynccontextmanager
async def recovered(entries: Topic[Any]) -> AsyncGenerator[Any, None]:
    sink = entries.sink()
    try:
        await sink.open()
        with anyio.fail_after(30):
            await sink.recover("mine", 0, 1)
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def read(kafka: Kafka, entries: Topic[Any]) -> list[int]:
    """What everybody sees."""
    await anyio.to_thread.run_sync(kafka.decided, entries.name)
    return [record.value.number async for record in entries.records("earliest")]


def config(kafka: Kafka, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    found = kafka.client.describe_configs([resource])[resource].result(30)
    return {each: entry.value for each, entry in found.items()}


async def test_the_journal_takes_what_the_topic_takes(kafka: Kafka) -> None:
    name = await made(kafka, max_message_bytes="5000000")
    entries = transactional(kafka, name, largest=4_000_000)
    async with recovered(entries) as sink:
        found = await anyio.to_thread.run_sync(config, kafka, sink._staging._journal.topic)
        assert int(found["max.message.bytes"]) >= 4_000_000
        assert found["retention.bytes"] == found["retention.ms"] == "-1"
        with anyio.fail_after(30):
            await sink.write([Entry(1, os.urandom(1_500_000).hex())])
            await sink.prepare(1)
            await sink.publish(1)
    assert await read(kafka, entries) == [1]


async def test_what_a_journal_of_old_doesnt_take_is_told(kafka: Kafka) -> None:
    name = await made(kafka, max_message_bytes="5000000")
    journal = f"staging-{name}-{hashlib.sha256(b'mine').hexdigest()[:24]}"
    new = NewTopic(journal, num_partitions=1, replication_factor=1)
    await anyio.to_thread.run_sync(lambda: kafka.client.create_topics([new])[journal].result(30))
    entries = transactional(kafka, name, largest=4_000_000)
    async with recovered(entries) as sink:
        with anyio.fail_after(30), pytest.raises(TopicError, match=f"{journal} doesn't take a message"):
            await sink.write([Entry(1, os.urandom(1_500_000).hex())])
            await sink.prepare(1)
    assert await read(kafka, entries) == []


async def test_a_stamp_that_was_good_when_it_was_staged_is_now_when_it_is_published(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = transactional(kafka, await made(kafka, message_timestamp_before_max_ms="75000"))
    async with recovered(entries) as sink:
        with monkeypatch.context() as earlier:
            clock = SimpleNamespace(time_ns=lambda: time.time_ns() - 3_600_000_000_000)
            earlier.setattr("reactor.connectors.kafka.producer.time", clock)
            await sink.write([Entry(1)])
            await sink.prepare(1)
        with anyio.fail_after(30):
            await sink.publish(1)
    assert await read(kafka, entries) == [1]


async def test_a_stamp_that_became_old_while_the_pipeline_stood_still_is_now(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = transactional(kafka, await made(kafka, message_timestamp_before_max_ms="75000"))
    with monkeypatch.context() as earlier:
        clock = SimpleNamespace(time_ns=lambda: time.time_ns() - 3_600_000_000_000)
        earlier.setattr("reactor.connectors.kafka.producer.time", clock)
        async with recovered(entries) as sink:
            await sink.write([Entry(1)])
            await sink.prepare(1)
    sink = entries.sink()
    try:
        await sink.open()
        with anyio.fail_after(30):
            await sink.recover("mine", 1, 2)
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()
    assert await read(kafka, entries) == [1]
