"""An asynchronous map, 32 at a time, in order, over a function that doesn't wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from benchmarks.harness import Workload

from .channels import END
from .functions import add, increment_soon

WORK = Workload("async_map", "async map, concurrency 32, ordered, function does not wait", events=200_000)

CONCURRENCY = 32
# How often a hand-written pool lets the rest of the application run while no function waits.
PAUSE = 1024


@WORK.system("reactor")
async def on_reactor(events: int) -> int:
    from reactor import Stream

    return await Stream(range(events)).map(increment_soon, concurrency=CONCURRENCY).fold(add, 0)


async def ordered_pool(
    events: Iterable[Any],
    function: Callable[[Any], Awaitable[Any]],
    emit: Callable[[Any], None],
    concurrency: int = CONCURRENCY,
) -> None:
    """The best pool we know to write by hand: workers that draw events from one iterator.

    A result whose turn it isn't waits together with its worker, so that never more than ``concurrency``
    events are in flight or waiting for their turn.
    """
    numbered = enumerate(events)
    loop = asyncio.get_running_loop()
    waiting: dict[int, tuple[asyncio.Future[None], Any]] = {}
    turn = 0

    async def work() -> None:
        nonlocal turn
        for number, event in numbered:
            result = await function(event)
            if number != turn:
                emitted = loop.create_future()
                waiting[number] = (emitted, result)
                await emitted
                continue
            emit(result)
            turn += 1
            while turn in waiting:
                emitted, result = waiting.pop(turn)
                emit(result)
                turn += 1
                emitted.set_result(None)
            if number % PAUSE == 0:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(work())


@WORK.system("loop")
async def by_hand(events: int) -> int:
    total = 0

    def emit(result: int) -> None:
        nonlocal total
        total = add(total, result)

    await ordered_pool(range(events), increment_soon, emit)
    return total


@WORK.system("asyncio-queue", share=0.2)
async def on_queues(events: int) -> int:
    """The pool as it is usually written: a queue of work, and the results' futures in order in another."""
    loop = asyncio.get_running_loop()
    work = asyncio.Queue[Any](CONCURRENCY)
    results = asyncio.Queue[Any](CONCURRENCY)

    async def produce() -> None:
        for event in range(events):
            result = loop.create_future()
            await results.put(result)
            await work.put((event, result))
        await results.put(END)
        for _ in range(CONCURRENCY):
            await work.put(END)

    async def worker() -> None:
        while (item := await work.get()) is not END:
            event, result = item
            result.set_result(await increment_soon(event))

    total = 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        for _ in range(CONCURRENCY):
            tasks.create_task(worker())
        while (result := await results.get()) is not END:
            total = add(total, await result)
    return total


@WORK.system("anyio", share=0.02)
async def on_anyio(events: int) -> int:
    """A task per event behind a limiter, and a turnstile of events that keeps the order."""
    import anyio

    total = 0
    slots = anyio.Semaphore(CONCURRENCY)

    async def one(event: int, mine: anyio.Event, next_: anyio.Event) -> None:
        nonlocal total
        result = await increment_soon(event)
        await mine.wait()
        total = add(total, result)
        next_.set()
        slots.release()

    async with anyio.create_task_group() as tasks:
        turn = anyio.Event()
        turn.set()
        for event in range(events):
            await slots.acquire()
            following = anyio.Event()
            tasks.start_soon(one, event, turn, following)
            turn = following
    return total


@WORK.system("aiostream", share=0.01)
async def on_aiostream(events: int) -> int:
    from aiostream import pipe, stream

    mapped = stream.iterate(range(events)) | pipe.map(increment_soon, ordered=True, task_limit=CONCURRENCY)
    return await (mapped | pipe.reduce(add, 0))
