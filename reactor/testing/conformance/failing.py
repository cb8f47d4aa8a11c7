"""A broker that is gone for a while, stands still, or doesn't take what it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anyio

from reactor.core import Refused
from reactor.delivery import DeadLetter, DeadLetters
from reactor.operators import RateLimit
from reactor.pipeline import Pipeline
from reactor.stream import Stream
from reactor.testing.conformance.ground import Ground, Placed, numbers, refused


class Failing(Ground):
    """Restarts, pauses, limits."""

    flood: int = 200_000
    """More events of 200 bytes than a sink may have taken while the broker stands still."""

    async def test_an_event_too_large_is_named_and_the_rest_is_stored(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        largest = self.capabilities.largest
        if largest is None:  # then what is large arrives
            await topic.publish(Placed(1, "x" * 900_000))
            async with self.reading(topic) as reader:
                [record] = await reader.take(1)
                assert record.value.text == "x" * 900_000
            return
        error = await refused(Refused, topic.publish([Placed(7, "x" * (largest + 1))]))
        assert set(error.errors) == {0}
        assert topic.name in str(error)
        events = [Placed(n, "x" * (largest + 1 if n == 3 else largest // 4)) for n in range(6)]
        letters: list[DeadLetter] = []
        pipeline = Pipeline(
            "writes", Stream(events).to(topic, on_error=DeadLetters()), dead_letters=letters.append
        )
        with anyio.fail_after(self.patience):
            async with pipeline.start() as run:
                await run.wait()
        assert [letter.event for letter in letters] == [events[3]]
        async with self.reading(topic) as reader:
            assert sorted(numbers(await reader.take(5, commit=True))) == [0, 1, 2, 4, 5]
            assert await reader.rest() == []

    async def test_source_and_sink_go_on_after_a_restart(self) -> None:
        if not self.restartable:
            return
        topic, copy = self.make(self.name(), Placed), self.make(self.name(), Placed)
        await self.join(topic, "g")
        await self.join(copy, "g")
        await topic.publish([Placed(n) for n in range(50)], key=lambda one: f"key-{one.number}")
        stream = topic.subscribe("g").to(copy, key=lambda one: f"key-{one.number}")
        got: set[int] = set()
        with anyio.fail_after(5 * self.patience):
            async with Pipeline("copies", stream, interval=0.1).start(drain=self.patience) as run, topic:
                async with self.reading(copy) as reader:
                    while len(got) < 50:
                        got.update(numbers(await reader.take(1, commit=True)))
                    await topic.publish([Placed(n) for n in range(50, 80)])
                    await self.restart()
                    assert run.error is None
                    await topic.publish([Placed(n) for n in range(80, 130)])
                    with anyio.move_on_after(2 * self.patience):
                        while len(got) < 130:
                            got.update(numbers(await reader.source.read(100) or ()))
                            await reader.commit()
                    assert run.error is None
        assert got == set(range(130))

    async def test_a_restart_while_events_flow_loses_nothing(self) -> None:
        if not self.restartable:
            return
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        got: set[int] = set()
        sent = 0
        stop = False

        def events() -> Iterator[Placed]:
            nonlocal sent
            while not stop:
                sent += 1
                yield Placed(sent - 1)

        def sink(one: Placed) -> None:
            got.add(one.number)

        writes = Pipeline(
            "writes", Stream(events).rate_limit(RateLimit(400)).to(topic, key=lambda one: str(one.number))
        )
        reads = Pipeline("reads", topic.subscribe("g").to(sink), interval=0.1)
        with anyio.fail_after(5 * self.patience):
            async with reads.start(drain=self.patience) as reading:
                async with writes.start(drain=self.patience) as writing:
                    await self.until(lambda: len(got) >= 100, reading, lambda: len(got))
                    await self.restart()
                    before = len(got)
                    await self.until(lambda: len(got) >= before + 200, reading, lambda: len(got))
                    stop = True
                    await writing.wait()
                await self.until(lambda: len(got) == sent, reading, lambda: (sent, len(got)))
        assert got == set(range(sent))

    async def test_a_broker_that_stands_still_holds_the_sink_up(self) -> None:
        if not self.pausable:
            return
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        sent = 0
        stop = False

        def events() -> Iterator[Placed]:
            nonlocal sent
            while not stop:
                sent += 1
                yield Placed(sent - 1, "x" * 200)

        await topic.publish(Placed(-1))
        pipeline = Pipeline("writes", Stream(events).to(topic), chunk=100, capacity=100, interval=0.1)
        async with pipeline.start(drain=2 * self.patience) as run:
            await self.until(lambda: sent > 200, run)
            await self.pause()
            try:
                at, since = sent, time.monotonic()
                deadline = since + self.patience
                while time.monotonic() < since + 1:
                    await anyio.sleep(0.02)
                    if sent != at:
                        at, since = sent, time.monotonic()
                    assert sent < self.flood, f"{sent} events were taken, and none was confirmed"
                    assert time.monotonic() < deadline, f"it takes more and more: {sent}"
                assert run.error is None
            finally:
                await self.go_on()
            await self.until(lambda: sent > at, run)
            stop = True
            with anyio.fail_after(2 * self.patience):
                await run.wait()
        found: set[int] = set()
        async with self.reading(topic) as reader:
            with anyio.move_on_after(3 * self.patience):
                while len(found) < sent + 1:
                    found.update(numbers(await reader.source.read(1000) or ()))
                    await reader.commit()
        assert found == set(range(-1, sent))

    async def test_closing_takes_no_longer_though_the_broker_stands_still(self) -> None:
        if not self.pausable:
            return
        topic = await self.published([Placed(n) for n in range(20)])
        source, sink = topic.source("g"), topic.sink()
        await source.open()
        await sink.open()
        try:
            await sink.write([Placed(99)])
            await source.read(1)
            await self.pause()
            try:
                for end in (source, sink):
                    with anyio.move_on_after(self.closing) as bound:
                        await end.close()
                    assert not bound.cancelled_caught, f"{type(end).__name__}.close() took too long"
            finally:
                await self.go_on()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await source.close()
                await sink.close()
            raise
        async with self.reading(topic) as reader:  # nothing was settled
            found: Any = set()
            with anyio.move_on_after(3 * self.patience):
                while len(found - {99}) < 20:
                    found.update(numbers(await reader.source.read(100) or ()))
            assert found >= set(range(20))
