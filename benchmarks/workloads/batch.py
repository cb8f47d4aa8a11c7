"""Batches of 100, and the sum of their lengths."""

from datetime import timedelta
from itertools import islice
from typing import Any

from benchmarks.harness import Workload

from .functions import add
from .fused import source

WORK = Workload("batch", "batch(100), sum of the lengths", events=1_000_000)

SIZE = 100


@WORK.system("reactor")
async def on_reactor(events: int) -> int:
    from reactor import Stream

    return await Stream(range(events)).batch(SIZE).map(len).fold(add, 0)


@WORK.system("loop")
def by_hand(events: int) -> int:
    total = 0
    batch: list[int] = []
    for event in range(events):
        batch.append(event)
        if len(batch) == SIZE:
            total = add(total, len(batch))
            batch = []
    if batch:
        total = add(total, len(batch))
    return total


@WORK.system("loop-inlined")
def by_hand_inlined(events: int) -> int:
    total = 0
    remaining = iter(range(events))
    while batch := list(islice(remaining, SIZE)):
        total += len(batch)
    return total


@WORK.system("asyncgen", share=0.5)
async def on_async_generators(events: int) -> int:
    async def batches() -> Any:
        batch: list[int] = []
        async for event in source(events):
            batch.append(event)
            if len(batch) == SIZE:
                yield batch
                batch = []
        if batch:
            yield batch

    total = 0
    async for batch in batches():
        total = add(total, len(batch))
    return total


@WORK.system("aiostream", share=0.05)
async def on_aiostream(events: int) -> int:
    from aiostream import pipe, stream

    batches = stream.iterate(range(events)) | pipe.chunks(SIZE) | pipe.map(len)
    return await (batches | pipe.reduce(add, 0))


@WORK.system("reactivex", share=0.1)
def on_reactivex(events: int) -> int:
    import reactivex
    from reactivex import operators as ops

    results: list[int] = []
    reactivex.from_iterable(range(events)).pipe(
        ops.buffer_with_count(SIZE), ops.map(len), ops.reduce(add, 0)
    ).subscribe(results.append)
    return results[0]


@WORK.system("streamz", share=0.02)
async def on_streamz(events: int) -> int:
    """Its partition needs a loop: run from plain code, each event would cross to another thread and back."""
    from streamz import Stream

    total = 0

    def keep(value: int) -> None:
        nonlocal total
        total = value

    source = Stream(asynchronous=True)
    source.partition(SIZE).map(len).accumulate(add, start=0).sink(keep)
    for event in range(events):
        await source.emit(event)
    return total


@WORK.system("bytewax", share=0.2)
def on_bytewax(events: int) -> int:
    """Its collect works per key; one key for all is the least that it allows."""
    from bytewax import operators as op
    from bytewax.dataflow import Dataflow

    from .on_bytewax import Folded, Range, run

    flow = Dataflow("batch")
    total = Folded(add, 0)
    keyed = op.key_on("key", op.input("in", flow, Range(events)), lambda event: "all")
    batches = op.collect("batch", keyed, timedelta(seconds=60), SIZE)
    op.output("out", op.map("len", batches, lambda pair: len(pair[1])), total)
    run(flow)
    return total.result
