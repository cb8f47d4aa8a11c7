"""What a run has used is let go of when it is over, and a stream that runs again costs no more memory."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import DeadLetter, DeadLetters, Pipeline, Stream
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


class Numbers:
    """A source that can be watched."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))


def through_everything(source: Any) -> Stream[Any]:
    stream = Stream[int](source).map(abs).map(plus_one, concurrency=3).buffer(2).batch(7)
    return stream.flat_map(lambda part: part).merge(Stream(range(3))).filter(bool)


def fails(event: int) -> int:
    raise LookupError(event)


async def collected() -> weakref.ref[Numbers]:
    numbers = Numbers()
    assert len(await through_everything(numbers).collect()) == 102
    return weakref.ref(numbers)


async def failed() -> weakref.ref[Numbers]:
    numbers = Numbers()
    with pytest.raises(LookupError):
        await Pipeline("p", through_everything(numbers).map(fails).discard()).run()
    return weakref.ref(numbers)


async def with_dead_letters() -> weakref.ref[Numbers]:
    numbers, letters = Numbers(), list[DeadLetter]()
    stream = Stream[int](numbers).map(fails, on_error=DeadLetters())
    await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    assert len(letters) == 100
    return weakref.ref(numbers)


async def left_early() -> weakref.ref[Numbers]:
    numbers = Numbers()
    async with through_everything(numbers).open() as events:
        async for _ in events:
            break
    return weakref.ref(numbers)


@pytest.mark.parametrize("run", [collected, failed, with_dead_letters, left_early])
async def test_nothing_holds_on_to_a_run_that_is_over(run: Callable[[], Any]) -> None:
    source = await run()
    gc.collect()
    assert source() is None


async def test_the_four_hundredth_run_holds_no_more_than_the_hundredth() -> None:
    async def objects_after(runs: int) -> int:
        for _ in range(runs):
            await Stream(range(3)).map(abs).batch(2).collect()
        gc.collect()
        return len(gc.get_objects())

    before = await objects_after(100)
    assert await objects_after(300) < before + 300
