"""Reactive Streams 3.1 to 3.17: asking for events, and wanting no more of them, keep the rules."""

import gc
import logging
import math
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor import (
    ArgumentError,
    Cancelled,
    Closed,
    Inlet,
    Pipeline,
    Record,
    Restart,
    Sink,
    Source,
    Stream,
    UsedTwice,
    topic,
)
from reactor.eventstore import event_store
from reactor.files import jsonl
from reactor.testing import SinkProbe, SourceProbe, probed, settle
from tests.engine.scripted import Endless
from tests.operators.table import CASES, Case, plus_one
from tests.reactive_streams.watched import PATIENCE, Broken, WatchedSink, WatchedSource, turns

pytestmark = pytest.mark.anyio

MOST = 2**63 - 1


def broken(reason: str, *, run: bool = True) -> pytest.MarkDecorator:
    """What the page calls broken: it fails until it is mended, and then says so."""
    return pytest.mark.xfail(reason=reason, run=run, strict=True)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "reactor")


# 3.1: asked from one place ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["complete", "drained", "cancelled", "failed", "restarted"])
async def test_a_source_and_a_sink_are_called_by_one_task_each(how: str) -> None:
    source, sink = WatchedSource(range(20), waits=how in ("drained", "cancelled")), WatchedSink()
    if how in ("failed", "restarted"):
        source.error = Broken("source")
    stream = Stream(source, restart=Restart(max=2, initial=0) if how == "restarted" else None)
    pipeline = Pipeline("p", stream.map(plus_one, concurrency=3).to(sink), interval=0.001)
    try:
        async with pipeline.start() as run:
            await turns()
            if how == "cancelled":
                run.cancel()
    except (Broken, Cancelled):
        assert how in ("failed", "cancelled", "restarted")
    assert len(source.tasks) == 1
    assert len(sink.tasks) == 1
    assert source.tasks != sink.tasks


# 3.2: asked while an event is handled -----------------------------------------------------------------------


async def test_a_reader_may_ask_again_while_it_handles_an_event() -> None:
    async def pairs(events: AsyncIterator[int]) -> list[tuple[int, int]]:
        return [(event, await anext(events)) async for event in events]

    stream = Stream(range(6)).map(abs)
    assert await pairs(aiter(stream)) == [(0, 1), (2, 3), (4, 5)]
    async with stream.buffer(1).open(capacity=1) as events:
        assert await pairs(events) == [(0, 1), (2, 3), (4, 5)]


async def test_demand_may_come_from_within_a_function_that_handles_an_event() -> None:
    sink = SinkProbe[int]()
    async with probed(Stream(range(1000)).tap(lambda n: sink.request()), sink):
        await sink.expect(*range(1000))  # the first event asks for itself, and so on
        await sink.expect_end()


async def test_a_sink_may_feed_its_own_pipeline_while_it_writes() -> None:
    inlet, seen = Inlet[int](), list[int]()

    def again(n: int) -> None:
        seen.append(n)
        if n < 5000:
            inlet.send_nowait(n + 1)
        else:
            inlet.close()

    inlet.send_nowait(0)
    await Pipeline("p", Stream(inlet).buffer(2).to(again)).run()
    assert seen == list(range(5001))


# 3.3: the stack stays flat ----------------------------------------------------------------------------------


def depth() -> int:
    found, frame = 0, sys._getframe()
    while frame.f_back is not None:
        found, frame = found + 1, frame.f_back
    return found


class Depths:
    """A function sink that looks at the stack at each thousandth event."""

    def __init__(self) -> None:
        self.number = 0
        self.seen: set[int] = set()

    def __call__(self, event: object) -> None:
        if self.number % 1000 == 0:
            self.seen.add(depth())
        self.number += 1


FLAT: dict[str, Callable[[Stream[int]], Stream[Any]]] = {
    "fused": lambda s: s.map(abs).filter(lambda n: n >= 0).map(abs).scan(max, 0).enumerate().map(len),
    "channels": lambda s: s.buffer(100).map(abs).buffer(100).filter(lambda n: n >= 0).buffer(100),
    "batches": lambda s: s.batch(10).buffer(10).flat_map(lambda part: part),
    "one after the other": lambda s: s.merge(Stream([])).concat(Stream([])),
}


@pytest.mark.parametrize("what", FLAT)
async def test_the_stack_does_not_grow_with_the_events(what: str) -> None:
    events, depths = 1_000_000 if what == "fused" else 200_000, Depths()
    await Pipeline("p", FLAT[what](Stream(range(events))).to(depths)).run()
    assert depths.number == events
    assert max(depths.seen) < depth() + 20
    # The first chunk, and all that come later, one after the other.
    assert max(depths.seen) - min(depths.seen) <= 2


async def test_the_stack_of_a_reader_does_not_grow_with_the_events() -> None:
    depths = Depths()
    async for n in Stream(range(200_000)).map(abs).filter(lambda n: n >= 0):
        depths(n)
    async with Stream(range(100_000)).map(abs).buffer(100).open() as events:
        async for n in events:
            depths(n)
    assert depths.number == 300_000
    assert len(depths.seen) == 1


@pytest.mark.parametrize(
    ("longer", "most"),
    [
        pytest.param(lambda s: s.buffer(1), 500, id="buffer"),
        pytest.param(lambda s: s.map(abs), 500, id="map"),
        pytest.param(lambda s: s.flat_map(lambda n: [n]), 50, id="flat_map"),
        pytest.param(lambda s: s.take(5), 50, id="take"),
        pytest.param(
            lambda s: s.batch(max_weight=1, weight=lambda n: 1).map(sum),
            50,
            id="batch",
        ),
        pytest.param(lambda s: s.merge(Stream([])), 50, id="merge"),
    ],
)
async def test_the_stack_does_not_grow_with_the_operators(
    longer: Callable[[Stream[int]], Stream[int]], most: int
) -> None:
    async def depth_behind(number: int) -> int:
        stream, depths = Stream(range(3)), Depths()
        for _ in range(number):
            stream = longer(stream)
        await Pipeline("p", stream.buffer(1).to(depths)).run()
        assert depths.number == 3
        (found,) = depths.seen
        return found

    assert await depth_behind(most) == await depth_behind(1)


# 3.5, 3.7, 3.15: cancelling returns, at once, again and again -----------------------------------------------


STATES = ["ready", "running", "held back", "draining", "complete", "failed", "cancelled"]


@pytest.mark.parametrize("state", STATES)
async def test_cancelling_returns_at_once_in_every_state_and_may_be_repeated(state: str) -> None:
    blocks = state in ("held back", "draining")
    source = WatchedSource([1], waits=state not in ("complete", "failed"))
    sink = WatchedSink(blocks=blocks)
    if state == "failed":
        source.error = Broken("source")
    run = Pipeline("p", Stream(source).to(sink)).start()
    if state == "ready":
        run.cancel()
        run.cancel()
    with anyio.fail_after(PATIENCE):
        try:
            async with run, anyio.create_task_group() as tasks:
                if state in ("complete", "failed"):
                    await run._done.wait()
                elif state != "ready":
                    await sink.writing.wait()
                if state == "draining":
                    tasks.start_soon(run.drain)
                    await settle()
                    assert run.state == "draining"
                if state == "cancelled":
                    run.cancel()
                    await run._done.wait()
                before = run.state, run.error
                for _ in range(3):
                    run.cancel()
                if state in ("complete", "failed", "cancelled"):
                    await settle()
                    assert (run.state, run.error) == before
        except (Broken, Cancelled):
            pass
    assert run.state == (state if state in ("complete", "failed") else "cancelled")
    assert sink.calls.count("close") == sink.calls.count("open") <= 1
    assert source.calls.count("close") == source.calls.count("open") <= 1
    run.cancel()


async def test_a_run_may_be_cancelled_from_another_thread() -> None:
    run = Pipeline("p", Stream(Inlet[int]()).discard()).start()
    with pytest.raises(Cancelled), anyio.fail_after(PATIENCE):
        async with run:
            await anyio.to_thread.run_sync(run.cancel)
            await run.wait()
    await anyio.to_thread.run_sync(run.cancel)
    assert run.state == "cancelled"


async def test_leaving_a_stream_returns_normally_whatever_it_is_doing() -> None:
    for stream in (
        Stream(Endless()).map(abs),
        Stream(Endless()).map(plus_one, concurrency=4),
        Stream(WatchedSource([1, 2], waits=True)).buffer(1),
        Stream(WatchedSource([1, 2])),
    ):
        with anyio.fail_after(PATIENCE):
            async with stream.open() as events:
                await anext(events)
            async with stream.open():
                pass


# 3.6: after that, asking has no effect ----------------------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_reader_that_has_left_is_given_nothing_more(taken: int) -> None:
    source = WatchedSource(range(10))
    async with Stream(source).map(abs).open() as events:
        for n in range(taken):
            assert await anext(events) == n
        await settle()
    calls = source.calls[:]
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert source.calls == calls


async def test_an_iterator_that_was_closed_gives_nothing_more() -> None:
    numbers = Endless()
    events: Any = aiter(Stream(numbers).map(abs))
    assert await anext(events) == 1
    await events.aclose()
    read = numbers.read
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert numbers.read == read


async def test_demand_after_the_end_has_no_effect() -> None:
    source = WatchedSource(range(10))
    async with probed(Stream(source)) as sink:
        sink.request(2)
        await sink.expect(0, 1)
        assert sink.run is not None
        sink.run.cancel()
        await sink.expect_error(Cancelled)
        calls = source.calls[:]
        for _ in range(3):
            sink.request()
        await turns()
    assert (sink.events, source.calls) == ([0, 1], calls)


# 3.8: demand adds up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in CASES if not case.drops], ids=str)
async def test_demand_adds_up(case: Case) -> None:
    source, sink = SourceProbe[int](), SinkProbe[Any]()
    source.send(1, 2, 3, 4)
    source.end()
    async with probed(case.build(Stream(source)), sink):
        asked: float = 0
        for demand in (1, 2, 1, math.inf):
            sink.request(demand)
            asked = min(asked + demand, len(case.all))
            with anyio.fail_after(PATIENCE):
                while len(sink.events) < asked:
                    await turns(1)
            await settle()
            assert len(sink.events) == asked
        with anyio.fail_after(PATIENCE):
            assert sink.run is not None
            await sink.run.wait()
    assert case.seen(sink.events) == case.all


# 3.9: demand that is none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
@pytest.mark.parametrize(
    "ask",
    [
        lambda n: SinkProbe[int]().request(n),
        lambda n: Stream([1]).open(capacity=n),
        lambda n: Pipeline("p", Stream([1]).discard(), capacity=n),
        lambda n: Pipeline("p", Stream([1]).discard(), chunk=n),
        lambda n: Stream([1]).buffer(n),
        lambda n: Stream([1]).batch(n),
        lambda n: Stream([1]).map(plus_one, concurrency=n),
        lambda n: Inlet[int](capacity=n),
    ],
    ids=["request", "open", "capacity", "chunk", "buffer", "batch", "concurrency", "Inlet"],
)
async def test_demand_that_is_not_positive_is_refused_and_says_so(
    ask: Callable[[int], object], number: int
) -> None:
    with pytest.raises(ValueError, match=rf"{number}.*must be .*>= 1") as caught:
        ask(number)
    assert isinstance(caught.value, ArgumentError)


@pytest.mark.parametrize("limit", [0, -1])
async def test_sources_refuse_to_be_asked_for_nothing(limit: int, tmp_path: Any) -> None:
    lines = tmp_path / "numbers.jsonl"
    lines.write_text("1\n")
    store = event_store(f"memory:{tmp_path.name}-{limit}-store", int)
    for source in (
        topic(f"memory:{tmp_path.name}-{limit}", int).source(follow=False),
        topic(f"sqlite:{tmp_path}/numbers.db/numbers", int).source(follow=False),
        store.source(follow=False),
        jsonl(lines, int),
    ):
        await source.open()
        try:
            with pytest.raises(ArgumentError, match=rf"read\(limit={limit}\): must be >= 1"):
                await source.read(limit)
        finally:
            await source.close()


async def test_the_engine_never_asks_for_less_than_one() -> None:
    def slow(n: int) -> int:
        until = sys.maxsize
        for _ in range(200_000):  # some milliseconds: the engine asks for less and less at once
            until -= n
        return until

    source = WatchedSource(range(30))
    await Pipeline("p", Stream(source).map(slow).discard()).run()
    assert 1 <= min(source.limits) < source.limits[0]
    small = WatchedSource(range(60))
    await Pipeline("p", Stream(small).discard(), capacity=1, chunk=1).run()
    assert set(small.limits) == {1}


# 3.10, 3.11: who has it may answer at once ------------------------------------------------------------------


def answered_at_once(awaitable: Any) -> Any:
    """What it gives without ever handing the loop its turn."""
    coroutine = awaitable.__await__()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("it has waited")


async def test_an_event_that_is_there_comes_without_a_turn_of_the_loop() -> None:
    events: Any = aiter(Stream([1, 2, 3]).map(abs).filter(lambda n: n != 2))
    assert answered_at_once(anext(events)) == 1
    assert answered_at_once(anext(events)) == 3
    await events.aclose()


class AtOnce(Source[int]):
    """Answers each read at once: with all it has, then with the end or the failure."""

    def __init__(self, number: int, error: Exception | None) -> None:
        self.values = list(range(number))
        self.error = error

    async def read(self, limit: int) -> list[Record[int]] | None:
        values, self.values = self.values[:limit], self.values[limit:]
        if not values and self.error is not None:
            raise self.error
        return [Record(value) for value in values] or None


@pytest.mark.parametrize("number", [0, 1000])
@pytest.mark.parametrize("error", [None, Broken("at once")], ids=["end", "failure"])
async def test_a_source_may_end_or_fail_within_the_call_that_asks_it(
    number: int, error: Exception | None
) -> None:
    came: list[int] = []
    told: list[Exception] = []
    try:
        async with Stream(AtOnce(number, error)).map(abs).open() as events:
            async for event in events:
                came.append(event)
    except Broken as failure:
        told.append(failure)
    assert came == list(range(number))
    sink = WatchedSink()
    try:
        await Pipeline("p", Stream(AtOnce(number, error)).to(sink), capacity=3, chunk=2).run()
    except Broken as failure:
        told.append(failure)
    assert sink.calls[0] == "open"
    assert error is not None or sink.events == list(range(number))
    assert told == ([] if error is None else [error, error])


# 3.12: a source that waits is called off --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "drain", "leave", "enough"])
async def test_cancelling_ends_a_read_that_waits(how: str) -> None:
    source = WatchedSource([1], waits=True)
    with anyio.fail_after(PATIENCE):
        if how == "leave":
            async with Stream(source).open():
                await source.asked.wait()
        elif how == "enough":

            async def when_it_waits() -> AsyncIterator[int]:
                await source.asked.wait()
                yield 2

            assert await Stream(source).merge(Stream(when_it_waits)).take(2).collect() == [1, 2]
        else:
            try:
                async with Pipeline("p", Stream(source).discard()).start() as run:
                    await source.asked.wait()
                    if how == "cancel":
                        run.cancel()
            except Cancelled:
                assert how == "cancel"
    assert source.calls == ["open", "read", "read", "close"]


# 3.13: what was cancelled is let go of ----------------------------------------------------------------------


class Event:
    """Can be watched."""


class Kept(Sink[Any]):
    """A sink that can be watched, and keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def write(self, events: Any) -> None:
        self.events.extend(events)


async def collected(*watched: weakref.ref[Any]) -> bool:
    """True when nothing holds on to them, once the loop has let go of its last tasks."""
    for _ in range(5):
        await turns(3)
        gc.collect()
        if all(ref() is None for ref in watched):
            return True
    return False


async def run_into_sink(stream: Stream[Any], how: str, ready: Callable[[], Any]) -> list[weakref.ref[Any]]:
    sink = Kept()
    pipeline = Pipeline("p", stream.to(sink), dead_letters=Kept())
    refs: list[weakref.ref[Any]] = [weakref.ref(sink), weakref.ref(pipeline)]
    try:
        async with pipeline.start() as run:
            refs.append(weakref.ref(run))
            await ready()
            with anyio.fail_after(PATIENCE):
                while not sink.events and run.state == "running":
                    await turns(1)
            refs += [weakref.ref(event) for event in sink.events]
            if how == "cancelled":
                run.cancel()
    except (Broken, Cancelled) as error:
        assert how != "complete"
        error.with_traceback(
            None
        )  # the inlet tells of it as long as it lives, and a traceback holds all frames
    return refs


@pytest.mark.parametrize("how", ["complete", "cancelled", "failed"])
@pytest.mark.parametrize(
    "kind",
    ["inlet", "source", "topic", "callable"],
)
async def test_a_source_that_lives_on_lets_go_of_a_run_that_is_over(
    kind: str, how: str, tmp_path: Any
) -> None:
    def fails(event: Event) -> Event:
        if how == "failed":
            raise Broken("event")
        return event

    async def nothing() -> None: ...

    ready: Callable[[], Any] = nothing
    if kind == "inlet":
        inlet = Inlet[Event]()
        stream: Stream[Any] = Stream(inlet)
        ready = lambda: inlet.send(Event())  # noqa: E731
    elif kind == "source":
        probe = SourceProbe[int]()
        probe.send(1)
        probe.end()
        stream = Stream(probe).map(lambda n: Event())
    elif kind == "topic":
        numbers = topic(f"memory:{tmp_path.name}", int)
        await numbers.publish(1)
        stream = numbers.subscribe("group").map(lambda n: Event())
    else:
        stream = Stream(lambda: [Event()])
    refs = await run_into_sink(stream.map(fails), how, ready)
    assert len(refs) == 3 + (how != "failed")
    assert await collected(*refs)


@pytest.mark.parametrize("how", ["left", "ended", "failed"])
async def test_a_stream_lets_go_of_a_reader_that_is_done(how: str) -> None:
    source = WatchedSource([1, 2, 3], error=Broken("source") if how == "failed" else None)
    stream = Stream(source).map(lambda n: Event()).buffer(2)

    async def read() -> list[weakref.ref[Any]]:
        opened: Any = stream.open()
        refs = [weakref.ref(opened)]
        try:
            async with opened as events:
                async for event in events:
                    refs.append(weakref.ref(event))
                    if how == "left":
                        break
        except Broken as error:
            assert how == "failed"
            error.with_traceback(None)  # the source keeps it here, and a traceback holds all frames
        return refs

    refs = await read()
    assert len(refs) > 1
    assert await collected(*refs)


async def test_a_reader_that_was_left_holds_no_events() -> None:
    async with Stream(range(10)).map(lambda n: Event()).open() as events:
        await anext(events)
        await settle()
        held = [weakref.ref(one) for one in gc.get_objects() if type(one) is Event]
        assert len(held) >= 9
    assert await collected(*held)
    assert events is not None


# 3.14: with its last reader a source shuts down -------------------------------------------------------------


async def test_an_inlet_shuts_down_with_its_run() -> None:
    inlet = Inlet[int]()
    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(inlet).discard()).start() as run:
            await inlet.send(1)
            run.cancel()
            with pytest.raises(Cancelled):
                await run.wait()
            with pytest.raises(Closed):
                inlet.send_nowait(2)
    with pytest.raises(Closed):
        await inlet.send(2)
    with pytest.raises(UsedTwice):
        await Stream(inlet).collect()


# 3.17: as much, and as often --------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [MOST, MOST + 1, 2**70])
async def test_demand_may_be_as_large_as_one_likes(most: int) -> None:
    source, sink = WatchedSource(range(5000)), SinkProbe[int](demand=most)
    sink.request(most)
    await Pipeline("p", Stream(source).buffer(most).to(sink), capacity=most, chunk=most).run()
    assert sink.events == list(range(5000))
    assert max(source.limits) > 16  # asked for more and more, as there is room
    async with Stream(range(10)).map(abs).open(capacity=most) as events:
        assert [event async for event in events] == list(range(10))


async def test_demand_may_come_any_number_of_times() -> None:
    stream = Stream(range(50_000)).map(abs)
    async with stream.open() as events:
        for n in range(50_000):
            assert await anext(events) == n
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    source = SourceProbe[int]()
    source.send(*range(2000))
    async with probed(Stream(source)) as sink:
        for n in range(2000):
            sink.request()
            await sink.expect(n)
