"""Reactive Streams 2.1 to 2.13: what takes events, a Sink and the engine over a Source, keeps the rules."""

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from reactor import ArgumentError, Cancelled, Inlet, Pipeline, Restart, Stream, UsedTwice, topic
from reactor.testing import SourceProbe, probed, settle
from tests.operators.table import CASES, Case, plus_one
from tests.reactive_streams.watched import PATIENCE, Broken, WatchedSink, WatchedSource, turns

pytestmark = pytest.mark.anyio

every = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "reactor")


# 2.1: nothing that wasn't asked for -------------------------------------------------------------------------


async def test_nothing_is_written_before_the_last_write_has_returned() -> None:
    inlet, sink = Inlet[int](), WatchedSink(blocks=True)
    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(inlet).to(sink)).start() as run:
            for n in range(100):
                await inlet.send(n)
            await sink.writing.wait()
            await settle()
            assert sink.calls == ["open", "write"]
            run.cancel()


async def test_a_source_is_only_read_while_there_is_room_for_events() -> None:
    source, sink = WatchedSource(range(1000)), WatchedSink(blocks=True)
    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(source).to(sink), capacity=3, chunk=2).start() as run:
            await sink.writing.wait()
            await settle()
            # Two in the sink's hands, three in the channel, and a chunk that has no room yet.
            assert source.at <= 2 + 3 + 2
            reads = source.number("read")
            await turns()
            assert source.number("read") == reads
            assert set(source.limits) <= {1, 2}
            run.cancel()


# 2.3, 2.4: after the end or a failure nothing is called any more --------------------------------------------


@pytest.mark.parametrize("ending", ["end", "failure", "failing open"])
@pytest.mark.parametrize("replay", [False, True])
async def test_a_terminal_signal_leads_to_a_last_commit_and_close_and_nothing_else(
    ending: str, replay: bool
) -> None:
    source = WatchedSource(
        [1, 2],
        error=Broken("source") if ending == "failure" else None,
        fails_in="open" if ending == "failing open" else "",
        replay=replay,
    )
    run = Pipeline("p", Stream(source).map(abs).to(WatchedSink()), interval=3600).run()
    if ending == "end":
        await run
        assert source.calls == ["open", "read", "read", *(["commit"] if replay else []), "close"]
        assert source.committed == ([2] if replay else [])
    else:
        with pytest.raises(Broken):
            await run
        assert source.calls in (["open", "read", "read", "close"], ["open", "close"])


@pytest.mark.parametrize("error", [None, Broken("source")], ids=["end", "failure"])
async def test_a_reader_that_has_seen_the_end_does_not_wake_the_source(error: Exception | None) -> None:
    source = WatchedSource([1], error=error)
    async with Stream(source).open() as events:
        assert await anext(events) == 1
        with pytest.raises(StopAsyncIteration if error is None else Broken):
            await anext(events)
        await settle()
        calls = source.calls[:]
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        assert source.calls == calls
    assert source.calls == calls


# 2.5: one subscription at a time -----------------------------------------------------------------------------


async def test_a_sink_that_is_in_use_refuses_a_second_run() -> None:
    inlet, sink = Inlet[int](), WatchedSink()
    async with Pipeline("first", Stream(inlet).to(sink)).start():
        await inlet.send(1)
        with pytest.raises(UsedTwice, match="to\\(watched\\)"):
            await Pipeline("second", Stream([2]).to(sink)).run()
        await inlet.send(3)
    assert sink.events == [1, 3]
    assert sink.number("open") == sink.number("close") == 1
    await Pipeline("third", Stream([4]).to(sink)).run()  # it is free again
    assert sink.events == [1, 3, 4]


async def test_an_inlet_and_a_run_are_used_once() -> None:
    inlet = Inlet[int]()
    async with Pipeline("first", Stream(inlet).discard()).start() as run:
        with pytest.raises(UsedTwice):
            await Pipeline("second", Stream(inlet).discard()).run()
        with pytest.raises(ArgumentError, match="a run runs once"):
            async with run:
                pass
        await inlet.send(1)
    assert run.state == "complete"


# 2.6: what isn't needed any more is cancelled ---------------------------------------------------------------


async def first(source: WatchedSource) -> None:
    assert await Stream(source).first() == 0


async def left(source: WatchedSource) -> None:
    async with Stream(source).open() as events:
        await anext(events)


async def closed(source: WatchedSource) -> None:
    async def numbers() -> AsyncIterator[int]:
        await source.open()
        try:
            while (records := await source.read(1)) is not None:
                yield records[0].value
        finally:
            await source.close()

    async with aclosing(aiter(Stream(numbers).map(abs))) as events:
        await anext(events)


async def switched(source: WatchedSource) -> None:
    async def outer() -> AsyncIterator[bool]:
        yield True
        while not source.at:
            await checkpoint()
        yield False

    stream = Stream(outer).switch_map(lambda wanted: Stream(source) if wanted else Stream([-1]))
    assert await stream.last() == -1


async def branches(source: WatchedSource) -> None:
    shared = Stream(source)
    await Pipeline("p", shared.take(2).discard(), shared.map(plus_one).take(5).discard()).run()


NOT_NEEDED: dict[str, Callable[[WatchedSource], Awaitable[Any]]] = {
    "take": lambda source: Stream(source).take(2).collect(),
    "take behind a channel": lambda source: Stream(source).buffer(2).take(2).collect(),
    "take_while": lambda source: Stream(source).take_while(lambda n: n < 5).collect(),
    "zip": lambda source: Stream(source).zip(Stream([1, 2])).collect(),
    "all branches have enough": branches,
    "first": first,
    "leaving open()": left,
    "closing an iterator": closed,
    "switch_map": switched,
}


@pytest.mark.parametrize("what", NOT_NEEDED)
async def test_what_is_not_needed_any_more_is_cancelled(what: str) -> None:
    source = WatchedSource(endless=True)
    with anyio.fail_after(PATIENCE):
        await NOT_NEEDED[what](source)
    assert source.calls[0] == "open"
    assert source.calls[-1] == "close"
    assert source.number("open") == source.number("close") == 1
    calls = source.calls[:]
    await turns()
    assert source.calls == calls


# 2.7: one call at a time ------------------------------------------------------------------------------------


async def complete(pipeline: Pipeline, source: WatchedSource) -> None:
    await pipeline.run()


async def drained(pipeline: Pipeline, source: WatchedSource) -> None:
    async with pipeline.start():
        await turns()


async def cancelled(pipeline: Pipeline, source: WatchedSource) -> None:
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await turns()
            run.cancel()


async def host_cancelled(pipeline: Pipeline, source: WatchedSource) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        await turns()
        tasks.cancel_scope.cancel()


async def failed(pipeline: Pipeline, source: WatchedSource) -> None:
    source.error, source.endless = Broken("source"), False
    with pytest.raises(Broken):
        await pipeline.run()


ENDINGS: dict[str, Callable[[Pipeline, WatchedSource], Awaitable[None]]] = {
    "complete": complete,
    "drained": drained,
    "cancelled": cancelled,
    "host cancelled": host_cancelled,
    "failed": failed,
}


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("state", ["reading", "waiting"])
async def test_the_calls_on_a_source_never_overlap(how: str, state: str) -> None:
    source = WatchedSource(
        range(100), waits=state == "waiting" and how != "complete", endless=how not in ("complete", "failed")
    )
    source.endless = source.endless and state == "reading"
    pipeline = Pipeline("p", Stream(source).map(plus_one, concurrency=3).discard(), interval=0.001, chunk=4)
    with anyio.fail_after(PATIENCE):
        await ENDINGS[how](pipeline, source)
    assert source.overlaps == []
    assert source.number("read") > 1
    assert source.calls[-1] == "close"


async def test_the_calls_on_a_source_that_is_restarted_never_overlap() -> None:
    source = WatchedSource(range(10), error=Broken("once"), replay=True)
    stream = Stream(source, restart=Restart(max=3, initial=0.001, jitter=0))
    async with stream.open() as events:
        assert [await anext(events) for _ in range(10)] == list(range(10))
        source.error = None
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert source.overlaps == []


# 2.8: events that come all the same -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drain", "cancel", "leave", "enough"])
async def test_events_that_come_after_the_cancellation_do_no_harm(how: str) -> None:
    source, sink = WatchedSource([1], waits=True, late=[2, 3], replay=True), WatchedSink()

    async def say_go() -> None:
        await source.asked.wait()
        await settle()
        source.go.set()

    async def when_it_waits() -> AsyncIterator[int]:
        await source.asked.wait()
        yield 0

    async def use() -> None:
        if how == "leave":
            async with Stream(source).open() as events:
                assert await anext(events) == 1
                await source.asked.wait()
        elif how == "enough":
            merged = Stream(source).merge(Stream(when_it_waits))
            assert await merged.take(2, volatile=True).collect() == [1, 0]
        else:
            with pytest.raises(Cancelled) if how == "cancel" else nothing():
                async with Pipeline("p", Stream(source).to(sink)).start(drain=3) as run:
                    await source.asked.wait()
                    if how == "cancel":
                        run.cancel()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say_go)
            await use()
    assert source.calls[-1] == "close"
    assert source.number("close") == 1
    # A drain takes them to the sink and commits them. Who doesn't want them doesn't commit them: they come again.
    assert sink.events in ([[1, 2, 3]] if how == "drain" else [[], [1]])
    assert source.committed[-1:] == ([3] if how == "drain" else source.committed[-1:])
    assert how == "drain" or all(position <= 1 for position in source.committed)


class nothing:
    """A block that expects nothing."""

    def __enter__(self) -> None: ...

    def __exit__(self, *args: object) -> None: ...


# 2.9, 2.10: end and failure don't wait for demand -----------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in CASES if case.empty in (None, [])], ids=str)
async def test_the_end_comes_to_who_has_asked_for_nothing(case: Case) -> None:
    source = SourceProbe[int]()
    async with probed(case.build(Stream(source))) as sink:
        source.end()
        await sink.expect_end()
        assert sink.events == []


@every
async def test_a_failure_comes_to_who_has_asked_for_nothing(case: Case) -> None:
    source, error = SourceProbe[int](), Broken("source")
    async with probed(case.build(Stream(source))) as sink:
        source.fail(error)
        assert await sink.expect_error(Broken) is error
        assert sink.events == []


# 2.11: on one thread ----------------------------------------------------------------------------------------


def in_a_thread(n: int) -> list[int]:
    return [n, threading.get_ident()]


async def sent_from_threads(inlet: Inlet[int]) -> None:
    def send(first: int) -> None:
        for n in range(first, first + 20):
            inlet.send_from_thread(n)

    async with anyio.create_task_group() as tasks:
        for n in range(3):
            tasks.start_soon(anyio.to_thread.run_sync, send, n * 20)
    inlet.close()


@pytest.mark.parametrize("what", ["threads", "an inlet fed from threads", "a topic in a file"])
async def test_every_signal_comes_on_the_loops_own_thread_and_complete(what: str, tmp_path: Path) -> None:
    sink = WatchedSink()
    async with anyio.create_task_group() as tasks:
        if what == "threads":
            stream: Stream[Any] = Stream(range(60)).map(in_a_thread, threads=4, ordered=False)
        elif what == "a topic in a file":
            numbers = topic(f"sqlite:{tmp_path}/numbers.db/numbers", int)
            await numbers.publish(*range(60))
            stream = numbers.subscribe("group", follow=False)
        else:
            inlet = Inlet[int](capacity=2)
            stream = Stream(inlet)
        async with Pipeline("p", stream.to(sink), capacity=4, chunk=4).start() as run:
            if what == "an inlet fed from threads":
                tasks.start_soon(sent_from_threads, inlet)
            with anyio.fail_after(PATIENCE):
                await run.wait()
    assert sink.threads == {threading.get_ident()}
    if what == "threads":
        assert threading.get_ident() not in {thread for _, thread in sink.events}
        sink.events = [n for n, _ in sink.events]
    assert sorted(sink.events) == list(range(60))


# 2.12: opened once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ENDINGS)
async def test_a_sink_is_opened_once_and_closed_once(how: str) -> None:
    sinks = [WatchedSink("a"), WatchedSink("b"), WatchedSink("c")]
    source = WatchedSource(range(100), endless=how not in ("complete", "failed"))
    shared = Stream(source).map(plus_one, concurrency=2)
    low, high = shared.split(lambda n: n > 50)
    pipeline = Pipeline("p", shared.to(sinks[0]), low.to(sinks[1]), high.to(sinks[2]))
    await ENDINGS[how](pipeline, source)
    for sink in sinks:
        assert sink.calls[0] == "open"
        assert sink.calls[-1] == "close"
        assert sink.number("open") == sink.number("close") == 1


# 2.13: who raises is cancelled, and it is told --------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "write", "flush", "close"])
async def test_a_sink_that_raises_is_cancelled_and_the_failure_is_told(call: str) -> None:
    source, sink, other = WatchedSource(range(10)), WatchedSink("bad", fails_in=call), WatchedSink("other")
    stream = Stream(source)
    run = Pipeline("p", stream.to(sink), stream.to(other)).start()
    with pytest.raises(Broken, match=f"sink {call}") as caught:
        async with run:
            with anyio.fail_after(PATIENCE):
                await run.wait()
    assert run.error is caught.value
    assert run.state == "failed"
    assert "pipeline 'p', operator to(bad)" in "".join(caught.value.__notes__)
    assert sink.number(call) == 1
    assert sink.calls[-1] == other.calls[-1] == "close"
    assert source.calls[-1:] == ([] if call == "open" else ["close"])


NONES = [None, 1, None]


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s,
        lambda s: s.map(lambda n: n).filter(lambda n: True),
        lambda s: s.buffer(1).batch(2).flat_map(lambda part: part),
        lambda s: s.map(lambda n: n, threads=2),
        lambda s: s.merge(Stream([])).concat(Stream([])),
        lambda s: s.scan(lambda _, n: n, 0),
        lambda s: s.delay(1e-9).timeout(3600).interleave(Stream([])),
    ],
    ids=["itself", "fused", "channels", "threads", "joined", "scan", "timed"],
)
async def test_none_is_an_event_like_any_other(build: Callable[[Stream[Any]], Stream[Any]]) -> None:
    sink = WatchedSink()
    await Pipeline("p", build(Stream(NONES)).to(sink)).run()
    assert sink.events == NONES
    async with build(Stream(NONES)).open() as events:
        assert [event async for event in events] == NONES
