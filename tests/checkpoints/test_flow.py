"""Checkpoints of very many keys: the event loop is never held for long.

In the loop's thread's own time, so that what the machine gives to other processes doesn't count; what pytest and
other tests have left behind is no matter of the garbage collector meanwhile.
"""

import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Checkpoints, Pipeline, Stream, Tumbling, Windowed
from reactor.engine.encoded import Encoded

MOST = 0.05
"""Seconds; to encode 150,000 rows at once takes some 300 ms."""
KEYS = 150_000


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def held(gaps: list[float]) -> None:
    """Note how long another task waits for each of its turns."""
    last = time.thread_time()
    while True:
        await checkpoint()
        now = time.thread_time()
        gaps.append(now - last)
        last = now


async def longest_gap(path: Path) -> float:
    """Run a window of very many keys that is saved, and ends just before a barrier."""
    saved, fired, over = anyio.Event(), anyio.Event(), anyio.Event()
    gaps: list[float] = []
    results = 0

    async def numbers() -> AsyncIterator[int]:
        for number in range(KEYS):
            yield number
        await saved.wait()
        yield KEYS
        await over.wait()

    def count(result: Windowed[int, int]) -> None:
        nonlocal results
        results += 1
        if results == KEYS:
            fired.set()

    keyed = (
        Stream(numbers()).event_time(lambda number: number // KEYS, unit="s").key_by(lambda number: number)
    )
    pipeline = Pipeline(
        "p",
        keyed.window(Tumbling(1), name="totals").sum().to(count),
        checkpoint=Checkpoints(f"sqlite:{path}", interval=3600, when_idle=False),
    )
    async with pipeline.start() as run, anyio.create_task_group() as tasks:
        tasks.start_soon(held, gaps)
        while run.metrics().events_in < KEYS:
            await anyio.sleep(0.001)
        first = await run.checkpoint()
        saved.set()
        await fired.wait()
        second = await run.checkpoint()
        tasks.cancel_scope.cancel()
        assert second.number > first.number
        over.set()
    return max(gaps)


@pytest.mark.anyio
async def test_a_window_of_very_many_keys_is_saved_and_ends_just_before_a_barrier(tmp_path: Path) -> None:
    """There is no time between to note what is gone, or what has grown, little by little."""
    longest: list[float] = []
    while len(longest) < 3 and min(longest, default=MOST) >= MOST:  # a slow machine has good moments
        longest.append(await longest_gap(tmp_path / f"state{len(longest)}.db"))
    assert min(longest) < MOST


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["sum", "count"])
async def test_the_garbage_collector_does_not_go_through_windows_of_numbers(how: str, place: str) -> None:
    """With a million keys that takes it 30 ms each time."""
    over = anyio.Event()

    async def numbers() -> AsyncIterator[int]:
        for number in range(3000):
            yield number
        await over.wait()

    keyed = Stream(numbers()).event_time(lambda number: 0, unit="s").key_by(lambda number: number)
    window: Any = keyed.window(Tumbling(1), name="totals")
    pipeline = Pipeline("p", getattr(window, how)().discard(), checkpoint=f"memory:{place}")
    async with pipeline.start() as run:
        while run.metrics().events_in < 3000:
            await anyio.sleep(0.001)
        await run.checkpoint()
        gc.collect()
        found = [type(each) for each in gc.get_objects() if isinstance(each, dict) and len(each) == 3000]
        over.set()
    assert found == []


def worst(add: Callable[[list[Any]], None]) -> float:
    """Return how long the longest of many steps took, of a thousand rows each."""
    took = 0.0
    for first in range(0, 400_000, 1000):
        rows = [(b"%d" % n, None) for n in range(first, first + 1000)]
        began = time.thread_time()
        add(rows)
        took = max(took, time.thread_time() - began)
    return took


def test_many_rows_are_kept_without_a_long_step() -> None:
    """A dict takes 15 ms for one, when it grows."""
    table: dict[Any, Any] = {}
    assert min(worst(rows.put) for rows in (Encoded(), Encoded())) < worst(table.update) / 3
    rows = Encoded()
    rows.put([(b"a", b"1"), (b"b", b"2")])
    rows.put((b"%d" % n, b"3") for n in range(20_000))
    rows.put([(b"a", b"4"), (b"c", None), (b"7", None)])
    taken = list(rows.taken())
    assert dict(taken) == {b"%d" % n: b"3" for n in range(20_000)} | {
        b"a": b"4",
        b"b": b"2",
        b"c": None,
        b"7": None,
    }
    assert len(taken) <= 20_002 + 3
    assert not list(rows.taken())
