"""What is published arrives: whole, as it was, in order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import anyio

from reactor.connectors.brokers import Broker
from reactor.contracts import VERSION, NewerVersion
from reactor.core import ArgumentError, Refused, TopicError
from reactor.pipeline import Pipeline
from reactor.testing.conformance.ground import (
    Ground,
    Misplaced,
    Paid,
    PaidOnce,
    Placed,
    Stranger,
    numbers,
    refused,
)


class Arriving(Ground):
    """Events, their attributes, and their order."""

    async def test_events_come_back_as_they_were(self) -> None:
        topic = self.make(self.name(), Placed, Paid)
        when = datetime(2030, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
        headers = {"shop": "ÄÖ 北京", "Empty": "", "traceparent": "00-1-2-3", "long": "x" * 500}
        async with self.reading(topic) as reader:
            await topic.publish(Placed(1, "ä\n"), key="kéy/1", headers=headers, time=when)
            [first] = await reader.take(1)
            await topic.publish(Paid(5, "USD"))
            [second] = await reader.take(1)
        assert first.value == Placed(1, "ä\n")
        assert first.key == "kéy/1"
        assert first.time == 1_893_553_445_123_456
        assert first.topic == topic.name
        if self.capabilities.headers:
            assert dict(first.headers) == headers
        assert second.value == Paid(5, "USD")
        assert second.key is None
        assert dict(second.headers) == {VERSION: "2"}
        assert second.time is not None
        assert abs(second.time / 1e6 - datetime.now(UTC).timestamp()) < 3600

    async def test_an_older_version_is_brought_on_and_a_newer_one_is_told(self) -> None:
        name = self.name()
        older, topic = self.make(name, PaidOnce), self.make(name, Paid)
        async with self.reading(topic) as reader:
            await older.publish(PaidOnce(7))
            [record] = await reader.take(1)
            assert record.value == Paid(7, "EUR")
            await reader.commit()
            await topic.publish(Paid(8, "USD"))
            assert [one.value for one in await reader.take(1)] == [Paid(8, "USD")]
        async with self.reading(older) as reader:
            with anyio.fail_after(self.patience):
                error = await refused(NewerVersion, reader.source.read(10))
            assert topic.name in str(error)

    async def test_a_topic_without_types_carries_plain_values(self) -> None:
        topic = self.make(self.name())
        events: list[Any] = [{"a": [1, None, "ä"]}, "text", 5]
        await self.join(topic, "g")
        await topic.publish(events)
        async with self.reading(topic) as reader:
            found = [record.value for record in await reader.take(3)]
        assert sorted(map(repr, found)) == sorted(map(repr, events))

    async def test_only_the_types_asked_for_are_returned(self) -> None:
        topic = await self.published([Placed(0), Paid(1, "EUR"), Paid(2, "EUR"), Placed(3)])
        async with self.opened(topic.source("g", Placed)) as reader:
            assert sorted(numbers(await reader.take(2))) == [0, 3]
            await reader.rest()
            await reader.commit()
        async with self.reading(topic) as reader:  # the others were passed over, and are done with
            await self.nothing_but_new(topic, reader)

    async def test_a_large_chunk_arrives_whole(self) -> None:
        events = [Placed(n, "some text " * 5) for n in range(self.many)]
        topic = await self.published(events, key=lambda one: f"key-{one.number % 7}")
        async with self.reading(topic) as reader:
            records = await reader.take(self.many, commit=True)
            assert await reader.rest() == []
        assert sorted(record.value.number for record in records) == list(range(self.many))
        assert all(record.value.text == "some text " * 5 for record in records)
        self.in_order(records)

    async def test_order_over_many_publishes(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        async with topic:
            for first in range(0, 200, 5):
                await topic.publish(
                    [Placed(n) for n in range(first, first + 5)], key=lambda one: f"key-{one.number % 4}"
                )
        async with self.reading(topic) as reader:
            records = await reader.take(200, commit=True)
        assert sorted(numbers(records)) == list(range(200))
        self.in_order(records)

    async def test_order_through_a_pipeline(self) -> None:
        topic, other = self.make(self.name(), Placed), self.make(self.name(), Placed)
        await self.join(topic, "g")
        await self.join(other, "g")
        await topic.publish([Placed(n) for n in range(300)], key=lambda one: f"key-{one.number % 4}")
        copy = topic.subscribe("g").to(other, key=lambda one: f"key-{one.number % 4}")
        async with Pipeline("copy", copy, chunk=17, interval=0.05).start(), self.reading(other) as reader:
            records = await reader.take(300, commit=True)
        assert sorted(numbers(records)) == list(range(300))
        self.in_order(records)

    async def test_several_publish_at_once(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")

        async def publish(first: int) -> None:
            for n in range(first, first + 20):
                await topic.publish(Placed(n), key=str(first))

        async with topic, anyio.create_task_group() as tasks:
            for first in range(0, 200, 20):
                tasks.start_soon(publish, first)
        async with self.reading(topic) as reader:
            records = await reader.take(200, commit=True)
            assert await reader.rest() == []
        assert sorted(numbers(records)) == list(range(200))
        if self.capabilities.ordered != "none":
            for key in map(str, range(0, 200, 20)):
                its = [record.value.number for record in records if record.key == key]
                assert its == sorted(its)

    async def test_flush_means_stored(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        sink = topic.sink()
        try:
            await sink.open()
            for first in range(0, 600, 200):
                await sink.write([Placed(n) for n in range(first, first + 200)])
            await sink.flush()
            # Whoever writes is still there, but does nothing any more.
            async with self.reading(topic) as reader:
                assert sorted(numbers(await reader.take(600, commit=True))) == list(range(600))
        finally:
            with anyio.CancelScope(shield=True):
                await sink.close()

    async def test_an_event_whose_id_is_there_already(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        await topic.publish([Placed(1), Placed(2)], id=lambda one: f"id-{one.number}")
        await topic.publish([Placed(2), Placed(3)], id=lambda one: f"id-{one.number}")
        async with self.reading(topic) as reader:
            found = numbers(await reader.take(3, commit=True) + await reader.rest(commit=True))
        assert set(found) == {1, 2, 3}
        if self.capabilities.deduplicates:
            assert sorted(found) == [1, 2, 3]
        async with self.reading(topic) as reader:  # two of the same id are two to settle
            await self.nothing_but_new(topic, reader)

    async def test_headers_bring_no_others_in(self) -> None:
        topic = self.make(self.name(), Placed)
        given = {"note": "a\r\nforged: yes\r\n\r\nbody", "b": 'c"; d=\te'}
        async with self.reading(topic) as reader:
            try:
                await topic.publish(Placed(1), headers=given)
            except (ArgumentError, Refused, TopicError):
                await topic.publish(Placed(2))  # it says so, and goes on
                [record] = await reader.take(1)
                assert record.value == Placed(2)
                return
            [record] = await reader.take(1)
        assert record.value == Placed(1)
        assert dict(record.headers) == (given if self.capabilities.headers else {})

    async def test_headers_of_the_wire_are_not_the_events_own(self) -> None:
        topic = self.make(self.name(), Placed)
        if not isinstance(topic._log, Broker):
            return
        async with self.reading(topic) as reader:
            for prefix in ("ce-", "ce_", "cloudEvents:"):
                # The prefix of its own binding is refused; the others are headers as any.
                try:
                    await topic.publish(Placed(1), headers={f"{prefix}type": "Stranger"})
                except (ArgumentError, Refused):
                    continue
                [record] = await reader.take(1)
                assert record.value == Placed(1)

    async def test_what_the_topic_does_not_carry_is_refused_before_anything_is_sent(self) -> None:
        topic = self.make(self.name(), Placed)
        async with self.reading(topic) as reader:
            await refused(ArgumentError, topic.publish([Placed(1), Stranger("x")]))
            await refused(ArgumentError, topic.publish(Misplaced("one")))
            assert await reader.rest() == []
