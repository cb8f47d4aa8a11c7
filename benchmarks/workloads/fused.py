"""map, filter, map, sum: what is left of a framework when there is nothing to wait for."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.harness import Workload

from .functions import add, double, increment, third

WORK = Workload("fused", "map, filter, map, sum", events=1_000_000)


@WORK.system("reactor")
async def on_reactor(events: int) -> int:
    from reactor import Stream

    return await Stream(range(events)).map(double).filter(third).map(increment).fold(add, 0)


@WORK.system("loop")
def by_hand(events: int) -> int:
    total = 0
    for event in range(events):
        x = double(event)
        if third(x):
            total = add(total, increment(x))
    return total


@WORK.system("loop-inlined")
def by_hand_inlined(events: int) -> int:
    total = 0
    for event in range(events):
        x = event * 2
        if x % 3 == 0:
            total += x + 1
    return total


async def source(events: int) -> AsyncIterator[int]:
    for event in range(events):
        yield event


async def mapped(upstream: AsyncIterator[Any], function: Callable[[Any], Any]) -> AsyncIterator[Any]:
    async for event in upstream:
        yield function(event)


async def filtered(upstream: AsyncIterator[Any], predicate: Callable[[Any], bool]) -> AsyncIterator[Any]:
    async for event in upstream:
        if predicate(event):
            yield event


@WORK.system("asyncgen", share=0.5)
async def on_async_generators(events: int) -> int:
    total = 0
    async for x in mapped(filtered(mapped(source(events), double), third), increment):
        total = add(total, x)
    return total


@WORK.system("aiostream", share=0.02)
async def on_aiostream(events: int) -> int:
    from aiostream import pipe, stream

    steps = stream.iterate(range(events)) | pipe.map(double) | pipe.filter(third) | pipe.map(increment)
    return await (steps | pipe.reduce(add, 0))


@WORK.system("reactivex", share=0.2)
def on_reactivex(events: int) -> int:
    import reactivex
    from reactivex import operators as ops

    results: list[int] = []
    reactivex.from_iterable(range(events)).pipe(
        ops.map(double), ops.filter(third), ops.map(increment), ops.reduce(add, 0)
    ).subscribe(results.append)
    return results[0]


@WORK.system("streamz", share=0.1)
def on_streamz(events: int) -> int:
    from streamz import Stream

    total = 0

    def keep(value: int) -> None:
        nonlocal total
        total = value

    source = Stream()
    source.map(double).filter(third).map(increment).accumulate(add, start=0).sink(keep)
    for event in range(events):
        source.emit(event)
    return total


@WORK.system("bytewax", share=0.5)
def on_bytewax(events: int) -> int:
    from bytewax import operators as op
    from bytewax.dataflow import Dataflow

    from .on_bytewax import Folded, Range, run

    flow = Dataflow("fused")
    total = Folded(add, 0)
    doubled = op.map("double", op.input("in", flow, Range(events)), double)
    kept = op.filter("third", doubled, third)
    op.output("out", op.map("increment", kept, increment), total)
    run(flow)
    return total.result
