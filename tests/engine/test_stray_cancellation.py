"""A cancellation that comes out of a function and was not meant for the run is a failure, never an end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from reactor import Closed, Inlet, Pipeline, Retry, Skip, StrayCancellation, Stream
from tests.engine.scripted import Log, Probe

pytestmark = pytest.mark.asyncio


async def lookup(n: int) -> int:
    """Awaits what somebody else has cancelled, at 3."""
    future = asyncio.get_running_loop().create_future()
    if n == 3:
        future.cancel()
    else:
        future.set_result(n)
    result: int = await future
    return result


def lookup_now(n: int) -> int:
    if n == 3:
        raise asyncio.CancelledError
    return n


async def write(events: Sequence[int]) -> None:
    for event in events:
        await lookup(event)


MAPS: dict[str, Callable[[Stream[int]], Stream[Any]]] = {
    "alone": lambda s: s.map(lookup),
    "pool": lambda s: s.map(lookup, concurrency=2),
    "unordered": lambda s: s.map(lookup, concurrency=2, ordered=False),
    "by key": lambda s: s.map(lookup, concurrency=2, key=lambda n: n % 2),
    "timeout": lambda s: s.map(lookup, concurrency=2, timeout=30),
    "threads": lambda s: s.map(lookup_now, threads=2),
    "sync": lambda s: s.map(lookup_now),
}


@pytest.mark.parametrize("build", MAPS.values(), ids=MAPS.keys())
async def test_it_fails_the_run_and_nothing_behind_it_is_committed(
    build: Callable[[Stream[int]], Stream[Any]],
) -> None:
    log = Log(range(10))
    with pytest.raises(StrayCancellation) as failure:
        await Pipeline("p", build(Stream(log)).discard()).run()
    assert "in pipeline 'p'" in failure.value.__notes__[0]
    assert log.committed <= 3


async def test_a_sink_and_a_source_that_let_one_through_fail_the_run() -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(10):
            yield await lookup(n)

    for pipeline in (
        Pipeline("p", Stream(range(10)).to(Probe[int](on_write=write))),
        Pipeline("p", Stream(numbers).discard()),
    ):
        with pytest.raises(StrayCancellation):
            await pipeline.run()


async def test_policies_apply_to_it() -> None:
    stream = Stream(range(5)).map(lookup, concurrency=2, on_error=Skip())
    assert await stream.collect() == [0, 1, 2, 4]
    again = Retry(2, initial=0, on=StrayCancellation)
    with pytest.raises(StrayCancellation):
        await Stream([3]).map(lookup, retry=again).collect()


async def test_deliver_does_not_return_as_if_it_were_handled() -> None:
    inlet = Inlet[int]()
    with pytest.raises(StrayCancellation):
        async with Pipeline("p", Stream(inlet).map(lookup, concurrency=2).discard()).start():
            with pytest.raises(Closed):
                await inlet.deliver(3)


async def test_a_cancellation_that_is_meant_is_no_failure() -> None:
    async def forever(n: int) -> None:
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(Stream([1]).map(forever, concurrency=2).collect())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stop_iteration_out_of_a_function_is_named() -> None:
    nothing: list[int] = []
    with pytest.raises(RuntimeError, match="StopIteration") as failure:
        await Stream([1]).map(lambda n: next(iter(nothing))).collect()
    assert "operator map" in failure.value.__notes__[0]
