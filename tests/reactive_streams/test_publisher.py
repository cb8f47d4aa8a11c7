"""Reactive Streams 1.1 to 1.11: what gives events, a Source and each stage towards the next, keeps the rules."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    ArgumentError,
    Cancelled,
    DeadLetters,
    Inlet,
    Pipeline,
    Source,
    Stream,
    UsedTwice,
    files,
    topic,
)
from reactor.eventstore import StoredEvent, event_store
from reactor.testing import Script, SinkProbe, SourceProbe, probed, settle
from tests.engine.scripted import Endless
from tests.operators.table import CASES, Case, plus_one
from tests.reactive_streams.protocol import watching
from tests.reactive_streams.watched import PATIENCE, Broken, WatchedSink, WatchedSource, turns

pytestmark = pytest.mark.anyio

every = pytest.mark.parametrize("case", CASES, ids=str)


class Order(msgspec.Struct):
    number: int


ORDERS = [Order(n) for n in range(50)]


async def a_topic(url: str) -> Source[Any]:
    orders = topic(url, Order)
    await orders.publish(*ORDERS)
    return orders.source("group", follow=False)


async def a_store(url: str) -> Source[Any]:
    store = event_store(url, Order)
    await store.append("orders", ORDERS)
    return store.source("orders", follow=False)


async def a_file(path: Path) -> Source[Any]:
    await Pipeline("writes", Stream(ORDERS).to(files.jsonl_sink(path))).run()
    return files.jsonl(path, Order)


async def a_probe() -> Source[Any]:
    probe = SourceProbe[Order]()
    probe.send(*ORDERS)
    probe.end()
    return probe


async def a_script() -> Source[Any]:
    return Script(ORDERS)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "memory topic": lambda folder: a_topic(f"memory:{folder.name}"),
    "sqlite topic": lambda folder: a_topic(f"sqlite:{folder}/shop.db/orders"),
    "event store": lambda folder: a_store(f"sqlite:{folder}/shop.db"),
    "file": lambda folder: a_file(folder / "orders.jsonl"),
    "probe": lambda folder: a_probe(),
    "script": lambda folder: a_script(),
}


# 1.1: no more than was asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 3])
@every
async def test_no_channel_gets_more_than_it_has_room_for(case: Case, capacity: int) -> None:
    sink = WatchedSink()
    with watching() as seen:
        await Pipeline("p", case.build(Stream(range(1, 50))).to(sink), capacity=capacity, chunk=64).run()
    assert seen.over_room == []
    assert seen.events >= len(sink.events) > 0


@pytest.mark.parametrize("limit", [1, 2, 7, 2**63 - 1])
@pytest.mark.parametrize("kind", SOURCES)
async def test_a_source_gives_no_more_than_it_was_asked_for(kind: str, limit: int, tmp_path: Path) -> None:
    source = await SOURCES[kind](tmp_path)
    came: list[Any] = []
    await source.open()
    try:
        while (records := await source.read(limit)) is not None:
            assert len(records) <= limit
            came.extend(record.value for record in records)
    finally:
        await source.close()
    assert [value.value if isinstance(value, StoredEvent) else value for value in came] == ORDERS


# 1.2: fewer, and then the end -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, Broken("early")])
async def test_a_source_may_end_or_fail_before_what_was_asked_for_has_come(error: Exception | None) -> None:
    source = WatchedSource([1, 2], error=error)
    async with probed(Stream(source), SinkProbe[int](demand=math.inf), capacity=100, chunk=100) as sink:
        await sink.expect(1, 2)
        if error is None:
            await sink.expect_end()
        else:
            assert await sink.expect_error(Broken) is error
    assert len(source.limits) == 2
    assert source.limits[0] > 2  # asked for more than it has


# 1.3: one at a time -----------------------------------------------------------------------------------------


def numbers(n: int = 300) -> Stream[int]:
    return Stream(WatchedSource(range(n), replay=True))


def from_a_thread(n: int) -> int:
    return n


def side_by_side() -> Stream[int]:
    return numbers().map(from_a_thread, threads=4, ordered=False)


SHAPES: dict[str, Callable[[], Stream[Any]]] = {
    "a source": numbers,
    "fused": lambda: numbers().map(abs).filter(lambda n: n % 3 > 0),
    "threads": side_by_side,
    "a pool without order": lambda: numbers().map(plus_one, concurrency=8, ordered=False),
    "merge": lambda: numbers().merge(numbers(), numbers()),
    "merge of threads": lambda: side_by_side().merge(side_by_side()),
    "batches by the clock": lambda: numbers().batch(7, max_wait=0.001),
    "streams within": lambda: Stream(range(20)).flat_map(lambda n: up_to(n), concurrency=4, ordered=False),
}


async def up_to(n: int) -> AsyncIterator[int]:
    for item in range(n):
        await checkpoint()
        yield item


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_signals_of_a_sink_never_overlap(shape: str) -> None:
    sink = WatchedSink()
    # Many barriers, so that many a flush comes between the writes.
    await Pipeline("p", SHAPES[shape]().to(sink), capacity=4, chunk=4, interval=0.001).run()
    assert sink.overlaps == []
    assert (sink.calls[0], sink.calls[-1]) == ("open", "close")
    assert sink.number("write") > 10
    assert sink.number("flush") >= 1


async def test_the_signals_of_each_of_several_sinks_never_overlap() -> None:
    shared = side_by_side()
    sinks = [WatchedSink(str(n)) for n in range(3)]
    await Pipeline("p", *(shared.to(sink) for sink in sinks), capacity=4, chunk=4, interval=0.001).run()
    for sink in sinks:
        assert sink.overlaps == []
        assert sorted(sink.events) == list(range(300))


async def test_dead_letters_of_many_stages_come_one_write_at_a_time() -> None:
    def fails(n: int) -> int:
        raise Broken(n)

    async def fails_later(n: int) -> int:
        await checkpoint()
        raise Broken(n)

    streams = [Stream(range(20)).map(fails, on_error=DeadLetters()) for _ in range(3)]
    streams += [Stream(range(20)).map(fails_later, concurrency=4, on_error=DeadLetters()) for _ in range(3)]
    letters = WatchedSink("letters")
    branches = (stream.discard() for stream in streams)
    await Pipeline("p", *branches, dead_letters=letters, chunk=4, capacity=4).run()
    assert letters.overlaps == []
    assert len(letters.events) == 120


# 1.4, 1.5: failure and end are signalled --------------------------------------------------------------------


async def ends_async(error: Exception | None) -> AsyncIterator[int]:
    yield 1
    if error is not None:
        raise error


def ends_sync(error: Exception | None) -> Any:
    yield 1
    if error is not None:
        raise error


KINDS: dict[str, Callable[[Exception | None], Stream[int]]] = {
    "iterable": lambda error: Stream(lambda: ends_sync(error)),
    "async iterable": lambda error: Stream(lambda: ends_async(error)),
    "source": lambda error: Stream(WatchedSource([1], error=error)),
    "merged": lambda error: Stream(WatchedSource([1], error=error)).merge(Stream([])),
    "pooled": lambda error: Stream(WatchedSource([1], error=error)).map(abs, threads=1),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_is_signalled_to_the_reader_the_run_and_the_sink(kind: str) -> None:
    error, sink, taken = Broken("source"), WatchedSink(), list[int]()
    with pytest.raises(Broken) as caught:
        await Pipeline("p", KINDS[kind](error).to(sink)).run()
    assert caught.value is error
    assert sink.calls[-1] == "close"
    assert "flush" not in sink.calls  # that is how a sink knows it from an end
    with pytest.raises(Broken) as caught:
        async with KINDS[kind](error).open() as events:
            async for event in events:
                taken.append(event)
    assert caught.value is error
    assert taken == [1] or kind == "pooled"  # a failure may overtake what a thread has in hand


@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_is_signalled_to_the_reader_the_run_and_the_sink(kind: str) -> None:
    sink = WatchedSink()
    run = await Pipeline("p", KINDS[kind](None).to(sink)).run()
    assert run.state == "complete"
    assert sink.calls == ["open", "write", "flush", "close"]
    async with KINDS[kind](None).open() as events:
        assert await anext(events) == 1
        with pytest.raises(StopAsyncIteration), anyio.fail_after(PATIENCE):
            await anext(events)


# 1.6, 1.7: after that, nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, Broken("source")], ids=["end", "failure"])
@pytest.mark.parametrize("reader", ["a sink", "open()", "a merge that goes on"])
async def test_after_its_end_or_failure_a_source_is_never_asked_again(
    reader: str, error: Exception | None
) -> None:
    source = WatchedSource([1, 2, 3], error=error)
    stream = Stream(source)
    try:
        if reader == "open()":
            async with stream.open() as events:
                assert [event async for event in events] == [1, 2, 3]
                await turns()
        elif reader == "a sink":
            await Pipeline("p", stream.to(WatchedSink())).run()
        else:
            other = Stream(lambda: up_to(100)).buffer(1)
            await Pipeline("p", stream.merge(other).to(WatchedSink()), capacity=1).run()
    except Broken:
        assert error is not None
    assert source.calls == ["open", "read", "read", "close"]


@every
async def test_nothing_comes_behind_the_end(case: Case) -> None:
    with watching() as seen:
        await Pipeline("p", case.build(Stream([1, 2, 3, 4])).to(WatchedSink()), capacity=2, chunk=2).run()
    assert seen.after_the_end == []
    assert seen.ends >= 1


@pytest.mark.parametrize("error", [None, Broken("source")], ids=["end", "failure"])
@pytest.mark.parametrize("how", ["open()", "in place"])
async def test_a_reader_that_asks_after_the_end_is_told_of_it_again(
    how: str, error: Exception | None
) -> None:
    async def ended(events: AsyncIterator[int]) -> None:
        assert await anext(events) == 1
        if error is not None:
            with pytest.raises(Broken):
                await anext(events)
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    with anyio.fail_after(PATIENCE):
        if how == "in place":
            await ended(aiter(Stream(lambda: ends_async(error))))
        else:
            async with Stream(lambda: ends_async(error)).open() as events:
                await ended(events)


# 1.8: cancelled, it stops -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["a source", "a pool", "threads", "a merge"])
async def test_a_cancelled_run_stops_asking_and_writing(shape: str) -> None:
    source, sink = WatchedSource(endless=True), WatchedSink()
    stream = {
        "a source": lambda s: s,
        "a pool": lambda s: s.map(plus_one, concurrency=4, ordered=False),
        "threads": lambda s: s.map(from_a_thread, threads=2),
        "a merge": lambda s: s.merge(Stream(Endless())),
    }[shape](Stream(source))
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.to(sink)).start() as run:
            await sink.writing.wait()
            await turns()
            run.cancel()
            with anyio.fail_after(PATIENCE), pytest.raises(Cancelled):
                await run.wait()
            calls = source.calls[:], sink.calls[:]
            await turns()
            assert (source.calls, sink.calls) == calls
    assert (source.calls[-1], sink.calls[-1]) == ("close", "close")


async def test_a_reader_that_has_left_stops_the_source() -> None:
    source = WatchedSource(endless=True)
    async with Stream(source).map(abs).buffer(2).open() as events:
        assert await anext(events) == 0
    calls = source.calls[:]
    assert calls[-1] == "close"
    await turns()
    assert source.calls == calls


# 1.9: the beginning comes first, and beginning doesn't raise ------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        lambda: WatchedSource(fails_in="open"),
        lambda: WatchedSource(fails_in="read"),
        lambda: WatchedSource(),
        lambda: WatchedSource([1]),
    ],
    ids=["fails to open", "fails at once", "empty", "one event"],
)
async def test_a_sink_is_opened_before_anything_else_whatever_the_source_does(
    source: Callable[[], WatchedSource],
) -> None:
    sink = WatchedSink()
    run = Pipeline("p", Stream(source()).to(sink)).start()
    entered, told = False, list[Exception]()
    try:
        async with run:
            entered = True
            with anyio.fail_after(PATIENCE):
                await run._done.wait()
    except Broken as error:
        told.append(error)
    assert entered  # what the source has failed with comes later
    assert told == ([run.error] if run.state == "failed" else [])
    assert sink.calls[0] == "open"
    assert sink.number("open") == 1


async def test_opening_a_stream_returns_and_the_first_event_raises_what_failed() -> None:
    async with Stream(WatchedSource(fails_in="open")).open() as events:
        await settle()
        with pytest.raises(Broken, match="source open"):
            await anext(events)


async def test_an_exhausted_source_refuses_by_a_failure_of_the_run() -> None:
    inlet, sink = Inlet[int](), WatchedSink()
    async with Pipeline("first", Stream(inlet).discard()).start():
        await inlet.send(1)
    with pytest.raises(UsedTwice):
        await Pipeline("second", Stream(inlet).to(sink)).run()
    assert sink.calls == ["open", "close"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: Stream(None),  # type: ignore[call-overload]
        lambda: Stream([1]).to(None),  # type: ignore[call-overload]
        lambda: Stream([1]).to(WatchedSink),  # type: ignore[arg-type]
        lambda: Pipeline("p", None),  # type: ignore[arg-type]
    ],
    ids=["Stream(None)", "to(None)", "to(class)", "Pipeline(None)"],
)
async def test_nobody_to_give_events_to_is_refused_at_the_call(call: Callable[[], Any]) -> None:
    with pytest.raises(ArgumentError):
        call()


# 1.10, 1.11: many readers -----------------------------------------------------------------------------------


async def test_a_stream_may_be_run_as_often_as_one_likes_each_time_from_its_beginning() -> None:
    stream = Stream(range(50)).map(plus_one, concurrency=3).batch(7)
    sinks = [WatchedSink(str(n)) for n in range(6)]
    for sink in sinks[:3]:
        await Pipeline("p", stream.to(sink)).run()
    async with anyio.create_task_group() as tasks:
        for sink in sinks[3:]:
            tasks.start_soon(Pipeline("p", stream.to(sink)).run)
    for sink in sinks:
        assert [n for part in sink.events for n in part] == list(range(1, 51))
        assert sink.calls[0] == "open"
        assert sink.number("open") == sink.number("close") == 1


async def test_branches_of_one_pipeline_share_a_source_and_two_runs_do_not() -> None:
    reads = 0

    def read() -> Any:
        nonlocal reads
        reads += 1
        return range(10)

    stream = Stream(read)
    left, right = WatchedSink("left"), WatchedSink("right")
    await Pipeline("p", stream.to(left), stream.map(abs).to(right)).run()
    assert (left.events, right.events, reads) == (list(range(10)), list(range(10)), 1)
    async with stream.open() as one, stream.open() as other:
        assert [n async for n in one] == [n async for n in other] == list(range(10))
    assert reads == 3
