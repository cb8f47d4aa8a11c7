"""Idle inputs: who has nothing to give holds up nobody; who was only held up itself isn't idle."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reactor import Inlet, Pipeline, Restart, Stream, Tumbling
from reactor.testing import run_virtual
from tests.engine.scripted import settle

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def timed(stream: Stream[Any], idle: float | None) -> Stream[Any]:
    return stream.event_time(lambda event: event[0], unit="s", idle=idle)


def test_an_idle_input_holds_up_nobody(loop: Any) -> None:
    async def busy() -> AsyncIterator[tuple[float, str]]:
        for second in range(40):
            yield second, "busy"
            await anyio.sleep(1)

    async def quiet() -> AsyncIterator[tuple[float, str]]:
        yield 0, "quiet"
        await anyio.sleep(1000)

    seen: list[tuple[float, int]] = []

    async def main() -> None:
        began = anyio.current_time()
        both = timed(Stream(busy), None).merge(timed(Stream(quiet), 5))
        counted = both.window(Tumbling(10)).count()
        keep = counted.to(lambda r: seen.append((anyio.current_time() - began, r.value)))
        await Pipeline("idle", keep).run()

    run_virtual(main, loop=loop)
    # The first window waits for the other input no longer than while that may still come.
    assert [count for _, count in seen] == [11, 10, 10, 10]
    assert [at for at, _ in seen[:3]] == [10, 20, 30]


def test_all_idle_time_goes_on_with_the_clock(loop: Any) -> None:
    async def once() -> AsyncIterator[tuple[float, str]]:
        yield 3, "once"
        await anyio.sleep(1000)

    seen: list[tuple[float, int]] = []

    async def main() -> None:
        began = anyio.current_time()
        counted = timed(Stream(once), 2).window(Tumbling(10)).count()
        await Pipeline(
            "idle", counted.to(lambda r: seen.append((anyio.current_time() - began, r.value)))
        ).run()

    run_virtual(main, loop=loop)
    # After 2 s it is idle at a time of 3 s, and has come to 10 s in steps of 2 s.
    assert seen == [(10, 1)]


@pytest.mark.blocking
def test_events_that_wait_while_the_loop_stands_are_not_idleness(loop: str) -> None:
    late: list[Any] = []

    async def main() -> None:
        slow, fast = Inlet[tuple[float, str]](), Inlet[tuple[float, str]]()
        counted = timed(Stream(slow), 1).merge(timed(Stream(fast), None)).window(Tumbling(10)).count()
        pipeline = Pipeline("stalled", counted.discard(), counted.late.to(late.append))
        async with pipeline.start():
            await slow.send((1, "slow"))
            await fast.send((500, "fast"))
            await settle()
            await slow.send((2, "slow"))  # it is on its way, when everything stands still for a while
            time.sleep(1.2)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=loop)
    assert late == []


def test_an_input_whose_source_is_down_is_not_idle(loop: Any) -> None:
    attempts = 0

    async def breaks() -> AsyncIterator[tuple[float, str]]:
        nonlocal attempts
        attempts += 1
        yield 10.0 * attempts, "breaks"
        if attempts == 1:
            raise ConnectionError("gone")

    async def other() -> AsyncIterator[tuple[float, str]]:
        for second in range(0, 100, 10):
            yield second, "other"
            await anyio.sleep(1)

    late: list[Any] = []

    async def main() -> None:
        source = Stream(breaks, restart=Restart(initial=20, jitter=0))
        counted = timed(source, 3).merge(timed(Stream(other), None)).window(Tumbling(10)).count()
        await Pipeline("down", counted.discard(), counted.late.to(late.append)).run()

    run_virtual(main, loop=loop)
    assert (attempts, late) == (2, [])
