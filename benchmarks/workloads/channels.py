"""The same work with a bounded channel, and so a task of its own, between every two operators."""

import asyncio
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Workload

from .functions import add, double, increment, third
from .fused import by_hand, by_hand_inlined

WORK = Workload("channels", "the same, a channel between every two operators", events=500_000)
WORK.system("loop")(by_hand)
WORK.system("loop-inlined")(by_hand_inlined)

CAPACITY = 1024
END: Any = object()


@WORK.system("reactor")
async def on_reactor(events: int) -> int:
    from reactor import Stream

    doubled = Stream(range(events)).buffer(CAPACITY).map(double).buffer(CAPACITY)
    kept = doubled.filter(third).buffer(CAPACITY)
    return await kept.map(increment).buffer(CAPACITY).fold(add, 0)


@WORK.system("asyncio-queue", share=0.1)
async def on_queues(events: int) -> int:
    first, second, third_, fourth = (asyncio.Queue[Any](CAPACITY) for _ in range(4))

    async def produce() -> None:
        for event in range(events):
            await first.put(event)
        await first.put(END)

    async def mapping(
        inner: asyncio.Queue[Any], function: Callable[[Any], Any], outer: asyncio.Queue[Any]
    ) -> None:
        while (event := await inner.get()) is not END:
            await outer.put(function(event))
        await outer.put(END)

    async def filtering() -> None:
        while (event := await second.get()) is not END:
            if third(event):
                await third_.put(event)
        await third_.put(END)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        tasks.create_task(mapping(first, double, second))
        tasks.create_task(filtering())
        tasks.create_task(mapping(third_, increment, fourth))
        total = 0
        while (event := await fourth.get()) is not END:
            total = add(total, event)
    return total


@WORK.system("anyio", share=0.05)
async def on_anyio(events: int) -> int:
    import anyio

    streams = [anyio.create_memory_object_stream[int](CAPACITY) for _ in range(4)]

    async def produce(outer: Any) -> None:
        async with outer:
            for event in range(events):
                await outer.send(event)

    async def mapping(inner: Any, function: Callable[[int], int], outer: Any) -> None:
        async with inner, outer:
            async for event in inner:
                await outer.send(function(event))

    async def filtering(inner: Any, outer: Any) -> None:
        async with inner, outer:
            async for event in inner:
                if third(event):
                    await outer.send(event)

    total = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce, streams[0][0])
        tasks.start_soon(mapping, streams[0][1], double, streams[1][0])
        tasks.start_soon(filtering, streams[1][1], streams[2][0])
        tasks.start_soon(mapping, streams[2][1], increment, streams[3][0])
        async with streams[3][1] as last:
            async for event in last:
                total = add(total, event)
    return total


@WORK.system("streamz", share=0.005)
async def on_streamz(events: int) -> int:
    from streamz import Stream

    total = seen = 0
    expected = len(range(0, events, 3))
    done = asyncio.Event()

    def keep(value: int) -> None:
        nonlocal total, seen
        total, seen = value, seen + 1
        if seen == expected:
            done.set()

    source = Stream(asynchronous=True)
    doubled = source.buffer(CAPACITY).map(double).buffer(CAPACITY)
    incremented = doubled.filter(third).buffer(CAPACITY).map(increment).buffer(CAPACITY)
    incremented.accumulate(add, start=0).sink(keep)
    for event in range(events):
        await source.emit(event)
    await done.wait()
    await _end(asyncio.all_tasks())
    return total


async def _end(tasks: set["asyncio.Task[Any]"]) -> None:
    """streamz has no end of a stream: its buffers' tasks would wait forever."""
    for task in tasks - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
