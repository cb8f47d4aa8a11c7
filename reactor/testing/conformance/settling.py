"""What was handled doesn't come again, and what wasn't does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio

from reactor.delivery import Restart
from reactor.pipeline import Pipeline
from reactor.testing.conformance.ground import Ground, Placed, numbers


class Settling(Ground):
    """Commits, crashes, cancellation."""

    async def test_what_was_not_committed_comes_again(self) -> None:
        topic = await self.published([Placed(n) for n in range(9)])
        for _ in range(2):
            async with self.reading(topic) as reader:
                assert sorted(numbers(await reader.take(9))) == list(range(9))

    async def test_what_was_committed_does_not_come_again(self) -> None:
        topic = await self.published([Placed(n) for n in range(9)])
        async with self.reading(topic) as reader:
            await reader.take(9, commit=True)
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader)

    async def test_after_a_commit_in_the_middle_exactly_the_rest_comes(self) -> None:
        topic = await self.published([Placed(n) for n in range(9)], key=lambda one: f"key-{one.number}")
        async with self.reading(topic) as reader:
            records = await reader.take(9)
            position = reader.source.position()
            assert position is not None
            await reader.source.commit(position - 5)
            await reader.source.commit(position - 5)  # again: nothing
        async with self.reading(topic) as reader:
            assert sorted(numbers(await reader.take(5, commit=True))) == sorted(numbers(records[4:]))
            await self.nothing_but_new(topic, reader)

    async def test_a_read_that_is_cancelled_loses_nothing(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        chance = random.Random(7)
        found: list[int] = []
        flying = 0

        async def publish() -> None:
            async with topic:
                for first in range(0, 300, 3):
                    await topic.publish([Placed(n) for n in range(first, first + 3)])

        async with self.reading(topic) as reader, anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            with anyio.move_on_after(2 * self.patience):
                while len(found) < 300:
                    records: Any = None
                    with anyio.move_on_after(chance.choice((0, 0.0005, 0.002, 0.01, 0.05))):
                        records = await reader.source.read(10)
                    found += numbers(records or ())
                    flying += len(records or ())
                    if records and (flying > 10 or chance.random() < 0.3):
                        await reader.commit()
                        flying = 0
            assert sorted(found) == list(range(300))
            await reader.commit()
            assert await reader.rest() == []
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader)

    async def test_a_reader_that_is_cancelled_while_it_waits_lets_go(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        for n in range(3):
            async with self.reading(topic) as reader:
                with anyio.move_on_after(0.1) as scope:
                    await reader.source.read(1)
                assert scope.cancelled_caught
            await topic.publish(Placed(n))
            async with self.reading(topic) as reader:  # nobody else takes it
                assert numbers(await reader.take(1, commit=True)) == [n]

    async def test_a_sink_that_fails_in_the_middle_loses_nothing(self) -> None:
        topic = await self.published([Placed(n) for n in range(100)], key=lambda one: f"key-{one.number}")
        got: list[int] = []

        def sink(one: Placed) -> None:
            if len(got) == 60:
                raise OSError("in the middle")
            got.append(one.number)

        def pipeline() -> Pipeline:
            return Pipeline("fails", topic.subscribe("g").to(sink), chunk=7, capacity=7, interval=0.01)

        assert "in the middle" in str(await self.fails(pipeline(), OSError))
        assert len(got) == 60
        before = set(got)
        got += range(-100, 0)  # the sink fails no more
        await self.drained(pipeline(), lambda: set(got) >= set(range(100)), lambda: sorted(got))
        # What the failed run handled may not have been committed, and this one may have ended before it came.
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader, may=before - set(got[160:]))

    async def test_a_position_never_passes_what_has_not_left_the_sinks(self) -> None:
        topic = await self.published([Placed(n) for n in range(60)], key=lambda one: f"key-{one.number}")
        got: list[int] = []
        stuck = True

        async def sink(one: Placed) -> None:
            if stuck and len(got) == 25:
                await anyio.sleep_forever()
            got.append(one.number)

        def pipeline() -> Pipeline:
            return Pipeline("sticks", topic.subscribe("g").to(sink), chunk=5, capacity=5, interval=0.01)

        async with self.abandoned(pipeline()) as run:
            await self.until(lambda: len(got) == 25, run, lambda: got)
            await anyio.sleep(0.2)  # twenty times, a position could be committed
        left = set(range(60)) - set(got)
        got.clear()
        stuck = False
        await self.drained(pipeline(), lambda: set(got) >= left, lambda: sorted(got))

    async def test_a_pipeline_that_restarts_goes_on_by_itself(self) -> None:
        topic = await self.published([Placed(n) for n in range(100)], key=lambda one: f"key-{one.number}")
        got: list[int] = []
        failed = 0

        def sink(one: Placed) -> None:
            nonlocal failed
            if failed < 3 and len(got) == 20 * (failed + 1):
                failed += 1
                raise OSError("now and then")
            got.append(one.number)

        pipeline = Pipeline(
            "restarts",
            topic.subscribe("g").to(sink),
            chunk=7,
            capacity=7,
            interval=0.01,
            restart=Restart(5, initial=0.01),
        )
        everything = set(range(100))
        await self.drained(pipeline, lambda: set(got) == everything, lambda: sorted(got), restarts=True)
        assert failed == 3

    async def test_a_drain_loses_nothing_and_repeats_nothing(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        got: list[int] = []

        async def publish() -> None:
            async with topic:
                for first in range(0, 400, 4):
                    await topic.publish(
                        [Placed(n) for n in range(first, first + 4)], key=lambda one: f"key-{one.number}"
                    )

        async def sink(one: Placed) -> None:
            await anyio.sleep(0.001)
            got.append(one.number)

        def pipeline() -> Pipeline:
            return Pipeline("drains", topic.subscribe("g").to(sink), chunk=11, interval=0.05)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            for enough in (50, 130, 290, 400):
                await self.drained(pipeline(), partial(_longer, got, enough), lambda: len(got))
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader)
        assert sorted(got) == list(range(400))


def _longer(got: Sequence[int], enough: int) -> bool:
    return len(got) >= enough
