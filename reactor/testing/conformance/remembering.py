"""Pipelines that remember: what they have saved is exact, whenever they are cancelled."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import msgspec

from reactor.delivery import Checkpoints
from reactor.pipeline import Pipeline, Run
from reactor.stream import Stream
from reactor.testing.conformance.ground import Ground, Placed
from reactor.topics import Topic


class Tally(msgspec.Struct):
    """How often each event was counted."""

    seen: dict[int, int] = {}


def count(tally: Tally, one: Placed) -> Tally:
    """Count it."""
    tally.seen[one.number] = tally.seen.get(one.number, 0) + 1
    return tally


class Remembering(Ground):
    """State and checkpoints."""

    total = 400

    def _counting(
        self, topic: Topic[Any], store: str, got: list[int], fail_at: int | None = None
    ) -> Pipeline:
        async def sink(tally: Tally) -> None:
            await anyio.sleep(0.001)
            got.append(len(tally.seen))
            if len(got) == fail_at:
                raise OSError("now and then")

        return Pipeline(
            "counts",
            topic.subscribe("g").scan(count, factory=Tally, name="tally").to(sink),
            checkpoint=Checkpoints(store, interval=0.03, spacing=0.01),
            chunk=13,
            capacity=13,
        )

    async def _publish(self, topic: Topic[Any], first: int, end: int) -> None:
        async with topic:
            for start in range(first, end, 4):
                await topic.publish(
                    [Placed(n) for n in range(start, start + 4)], key=lambda one: f"key-{one.number}"
                )
                await anyio.lowlevel.checkpoint()

    def _enough(self, run: Run, got: Sequence[int], enough: int) -> bool:
        """Whether the sink has got so many, or there are no more."""
        return len(got) >= enough or len(_seen(run)) >= self.total

    async def _counted(self, run: Run, expected: int) -> dict[int, int]:
        """Return how often each was counted, once as many were as are expected, and some time after that."""
        await self.until(
            lambda: len(_seen(run)) >= expected, run, lambda: f"{len(_seen(run))} of {expected} counted"
        )
        await anyio.sleep(self.quiet)
        return dict(_seen(run))

    async def _finished(self, topic: Topic[Any], store: str) -> None:
        """Run to the end, twice; each event has to be counted once."""
        got: list[int] = []
        seen: dict[int, int] = {}
        for _ in range(2):  # the second time only what is saved is left
            async with self._counting(topic, store, got).start(drain=self.patience) as run:
                seen = await self._counted(run, self.total)
            again = {number: times for number, times in seen.items() if times != 1}
            assert not again, f"counted more than once: {again}"
            assert sorted(seen) == list(range(self.total))

    async def test_state_is_exact_however_often_it_is_cancelled(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        chance = random.Random(11)
        await self._publish(topic, 0, self.total // 2)
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:{folder}/state.db"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._publish, topic, self.total // 2, self.total)
                for _ in range(8):
                    got: list[int] = []
                    enough = chance.randint(1, 60)
                    async with self.abandoned(self._counting(topic, store, got)) as run:
                        await self.until(partial(self._enough, run, got, enough), run, partial(len, got))
                        await anyio.sleep(chance.random() * 0.06)
            await self._finished(topic, store)

    async def test_state_is_exact_however_often_it_fails(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        await self._publish(topic, 0, self.total)
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:{folder}/state.db"
            for fail_at in (1, 37, 20, 55):
                assert "now and then" in str(
                    await self.fails(self._counting(topic, store, [], fail_at), OSError)
                )
            await self._finished(topic, store)

    async def test_state_is_exact_after_drains(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:{folder}/state.db"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._publish, topic, 0, self.total)
                for enough in (10, 80, 60):
                    got: list[int] = []
                    await self.drained(
                        self._counting(topic, store, got),
                        partial(_longer, got, enough),
                        partial(len, got),
                    )
            await self._finished(topic, store)

    async def test_a_checkpoint_is_all_that_is_needed(self) -> None:
        """What a checkpoint covers counts as handled, also where the broker wasn't told any more."""
        topic = await self.published([Placed(n) for n in range(40)], key=lambda one: f"key-{one.number}")
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:{folder}/state.db"
            for expected in (40, 41):
                source = topic.source("g")
                forgetful = _Forgetful(source)
                pipeline = Pipeline(
                    "covers",
                    Stream(source).scan(count, factory=Tally, name="tally").discard(),
                    checkpoint=Checkpoints(store, interval=0.03, spacing=0.01),
                )
                async with self.abandoned(pipeline) as run:
                    assert await self._counted(run, expected) == dict.fromkeys(range(expected), 1)
                    await run.checkpoint()
                assert forgetful.commits
                await topic.publish(Placed(expected))


def _seen(run: Run) -> dict[int, int]:
    state: Tally | None = run.state("tally").get()
    return {} if state is None else state.seen


def _longer(got: Sequence[int], enough: int) -> bool:
    return len(got) >= enough


class _Forgetful:
    """Keeps a source from telling its broker what it has handled."""

    def __init__(self, source: Any) -> None:
        self.commits = 0
        source.commit = self.commit

    async def commit(self, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        self.commits += 1
