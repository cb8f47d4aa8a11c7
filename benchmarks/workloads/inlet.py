"""Events pushed one by one by an application, from a task of its own, into map, filter, map, sum."""

import asyncio
from typing import Any

from benchmarks.harness import Workload

from .channels import CAPACITY, END
from .functions import add, double, increment, third
from .fused import by_hand, by_hand_inlined

WORK = Workload("inlet", "events pushed one by one through an Inlet", events=500_000)
WORK.system("loop")(by_hand)
WORK.system("loop-inlined")(by_hand_inlined)


@WORK.system("reactor")
async def on_reactor(events: int) -> int:
    from reactor import Inlet, Stream

    inlet = Inlet[int](CAPACITY)
    steps = Stream(inlet).map(double).filter(third).map(increment)

    async def total() -> int:
        return await steps.fold(add, 0)

    folding = asyncio.create_task(total())
    for event in range(events):
        await inlet.send(event)
    inlet.close()
    return await folding


@WORK.system("asyncio-queue", share=0.4)
async def on_queue(events: int) -> int:
    queue = asyncio.Queue[Any](CAPACITY)

    async def consume() -> int:
        total = 0
        while (event := await queue.get()) is not END:
            x = double(event)
            if third(x):
                total = add(total, increment(x))
        return total

    consuming = asyncio.create_task(consume())
    for event in range(events):
        await queue.put(event)
    await queue.put(END)
    return await consuming


@WORK.system("anyio", share=0.1)
async def on_anyio(events: int) -> int:
    import anyio

    send, receive = anyio.create_memory_object_stream[int](CAPACITY)

    async def produce() -> None:
        async with send:
            for event in range(events):
                await send.send(event)

    total = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        async with receive:
            async for event in receive:
                x = double(event)
                if third(x):
                    total = add(total, increment(x))
    return total


@WORK.system("aiostream", share=0.04)
async def on_aiostream(events: int) -> int:
    """aiostream has no inlet: a queue in front of it, as its users write it."""
    from aiostream import pipe, stream

    queue = asyncio.Queue[Any](CAPACITY)

    async def pushed() -> Any:
        while (event := await queue.get()) is not END:
            yield event

    async def total() -> int:
        steps = stream.iterate(pushed()) | pipe.map(double) | pipe.filter(third) | pipe.map(increment)
        return await (steps | pipe.reduce(add, 0))

    folding = asyncio.create_task(total())
    for event in range(events):
        await queue.put(event)
    await queue.put(END)
    return await folding


@WORK.system("reactivex", share=0.4)
def on_reactivex(events: int) -> int:
    """A Subject calls its observers within on_next: no queue, no task, no backpressure."""
    from reactivex import operators as ops
    from reactivex.subject import Subject

    results: list[int] = []
    subject = Subject[int]()
    subject.pipe(ops.map(double), ops.filter(third), ops.map(increment), ops.reduce(add, 0)).subscribe(
        results.append
    )
    for event in range(events):
        subject.on_next(event)
    subject.on_completed()
    return results[0]


@WORK.system("streamz", share=0.02)
async def on_streamz(events: int) -> int:
    from streamz import Stream

    total = 0

    def keep(value: int) -> None:
        nonlocal total
        total = value

    source = Stream(asynchronous=True)
    source.map(double).filter(third).map(increment).accumulate(add, start=0).sink(keep)
    for event in range(events):
        await source.emit(event)
    return total
