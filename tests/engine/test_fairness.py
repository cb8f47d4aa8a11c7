"""Functions that never wait don't starve the application; waiting costs nothing."""

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Pipeline, Stream
from tests.engine.scripted import Endless

pytestmark = [pytest.mark.anyio, pytest.mark.blocking]

MOST = 0.02
"""Seconds that the application may wait for its turn."""


def work(n: Any) -> Any:
    """Computes for about 50 microseconds."""
    until = time.perf_counter() + 0.00005
    while time.perf_counter() < until:
        pass
    return n


async def work_async(n: Any) -> Any:
    return work(n)


async def gaps_beside(pipeline: Pipeline, seconds: float = 0.25) -> list[float]:
    """How long another task had to wait for each of its turns while the pipeline ran, longest first.

    In this thread's own time: what the machine gives to others is nobody's fault here.
    """
    gaps: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        for _ in range(20):
            await checkpoint()
        began = last = time.thread_time()
        while last - began < seconds:
            await checkpoint()
            now = time.thread_time()
            gaps.append(now - last)
            last = now
        tasks.cancel_scope.cancel()
    return sorted(gaps, reverse=True)


STREAMS: dict[str, Callable[[], Stream[Any]]] = {
    "map": lambda: Stream(Endless()).map(work),
    "map of a range": lambda: Stream(range(10**9)).map(work),
    "filter that drops all": lambda: Stream(Endless()).filter(lambda n: not work(n)),
    "async map that never waits": lambda: Stream(Endless()).map(work_async),
    "pool that never waits": lambda: Stream(Endless()).map(work_async, concurrency=16),
    "unordered pool": lambda: Stream(Endless()).map(work_async, concurrency=16, ordered=False),
    "pool by key": lambda: Stream(Endless()).map(work_async, concurrency=16, key=lambda n: n % 7),
    "buffers": lambda: Stream(Endless()).map(work).buffer(10).map(work).buffer(10),
    "flat_map of an endless one": lambda: Stream([1]).flat_map(lambda n: Endless()).map(work),
    "batch": lambda: Stream(Endless()).map(work).batch(100),
    "timed batch": lambda: Stream(Endless()).map(work).batch(100, max_wait=1),
    "merge": lambda: Stream(Endless()).map(work).merge(Stream(Endless()).map(work)),
    "key_by": lambda: Stream(Endless()).key_by(lambda n: n % 5).scan(lambda state, n: work(n), 0),
}


@pytest.mark.parametrize("what", STREAMS)
async def test_another_task_has_its_turn(what: str) -> None:
    gaps = await gaps_beside(Pipeline("p", STREAMS[what]().discard()))
    # A collection of garbage may take a turn away now and then: the fifth longest is the pipeline's doing.
    assert len(gaps) >= 10
    assert gaps[4] < MOST, f"{gaps[:5]}"


async def test_a_sink_that_never_waits() -> None:
    gaps = await gaps_beside(Pipeline("p", Stream(Endless()).to(work_async)))
    assert gaps[4] < MOST


async def test_the_first_event_comes_at_once_although_functions_are_slow() -> None:
    """The first chunks are small: nobody waits for a thousand slow calls."""
    calls: list[int] = []

    def slow(n: int) -> int:
        calls.append(n)
        time.sleep(0.001)
        return n

    async with Stream(Endless()).map(slow).open() as events:
        await anext(events)
        assert len(calls) < 100


async def test_an_idle_pipeline_uses_no_time() -> None:
    from reactor import Inlet

    inlets = [Inlet[int]() for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for n, inlet in enumerate(inlets):
            tasks.start_soon(Pipeline(f"p{n}", Stream(inlet).buffer(1).map(work_async).discard()).run)
        await anyio.sleep(0.02)
        before = time.process_time()
        await anyio.sleep(0.3)
        assert time.process_time() - before < 0.12
        tasks.cancel_scope.cancel()
