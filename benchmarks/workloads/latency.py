"""One event at a time through an idle pipeline: from the send to the call of the sink.

The baseline is one hop through an asyncio.Queue to a task that waits on it. The sink takes the time and
wakes the sender, who sends the next event only then: nothing is ever queued.
"""

import asyncio
import statistics
import time
from typing import Any

from benchmarks.harness import Timed, Workload

from .functions import double, increment

WORK = Workload(
    "latency", "one event at a time, idle: inlet, fused operators, sink", events=5_000, unit="hop"
)


class Arrivals:
    """The sink of every system: notes when it was called, and what with."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.at = 0
        self.total = 0
        self.next = self._loop.create_future()

    def __call__(self, value: int) -> None:
        self.at = time.perf_counter_ns()
        self.total += value
        self.next.set_result(None)

    def expect(self) -> "asyncio.Future[None]":
        self.next = self._loop.create_future()
        return self.next


async def timed(events: int, send: Any, arrivals: Arrivals) -> Timed:
    latencies = []
    for event in range(events):
        arrived = arrivals.expect()
        sent = time.perf_counter_ns()
        await send(event)
        await arrived
        latencies.append(arrivals.at - sent)
    return Timed(statistics.median(latencies), arrivals.total)


@WORK.system("reactor")
async def on_reactor(events: int) -> Timed:
    from reactor import Inlet, Pipeline, Stream

    arrivals = Arrivals()
    inlet = Inlet[int](1024)
    steps = Stream(inlet).map(double).map(increment)
    async with Pipeline("latency", steps.to(arrivals)).start():
        result = await timed(events, inlet.send, arrivals)
        inlet.close()
    return result


@WORK.system("loop")
async def by_hand(events: int) -> Timed:
    queue = asyncio.Queue[int](1024)
    arrivals = Arrivals()

    async def consume() -> None:
        while True:
            event = await queue.get()
            arrivals(increment(double(event)))

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    result = await timed(events, queue.put, arrivals)
    consuming.cancel()
    await asyncio.wait([consuming])
    return result


@WORK.system("anyio")
async def on_anyio(events: int) -> Timed:
    import anyio

    send, receive = anyio.create_memory_object_stream[int](1024)
    arrivals = Arrivals()

    async def consume() -> None:
        async with receive:
            async for event in receive:
                arrivals(increment(double(event)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await anyio.lowlevel.checkpoint()
        result = await timed(events, send.send, arrivals)
        send.close()
    return result


@WORK.system("aiostream", share=0.5)
async def on_aiostream(events: int) -> Timed:
    from aiostream import pipe, stream

    queue = asyncio.Queue[int](1024)
    arrivals = Arrivals()

    async def pushed() -> Any:
        while True:
            yield await queue.get()

    async def consume() -> None:
        await (stream.iterate(pushed()) | pipe.map(double) | pipe.map(increment) | pipe.action(arrivals))

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    result = await timed(events, queue.put, arrivals)
    consuming.cancel()
    await asyncio.wait([consuming])
    return result
