"""switch_map: the next event ends the inner stream of the one before; each is closed exactly once."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Cancelled, DeadLetters, Fallback, Inlet, Pipeline, Skip, Stream
from reactor.engine import Execution
from reactor.engine.elements import Barrier, Mark
from reactor.graph import Graph
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.engine.test_marks import Bench
from tests.operators.test_flat_map_async import Endlessly, Pages, breaks, up_to

pytestmark = pytest.mark.anyio


# The three lines --------------------------------------------------------------------------------------------


async def test_emits_when_the_iterable_of_the_latest_event_gives_an_item() -> None:
    inlet, pages, probe = Inlet[int](), Pages(), Probe[str]()
    async with Pipeline("p", Stream(inlet).switch_map(pages).to(probe)).start():
        await inlet.send(1)
        await settle()
        await pages.give(1, "a")
        assert probe.events == ["a"]
        await inlet.send(2)
        await settle()
        await pages.give(1, "too late")
        await pages.give(2, "b")
        assert probe.events == ["a", "b"]


async def test_backpressures_when_the_next_operator_does() -> None:
    inner, gate = Endlessly(), Gate()
    inlet = Inlet[int]()
    with pytest.raises(Cancelled):
        async with Pipeline(
            "p", Stream(inlet).switch_map(inner).to(gate), capacity=1, chunk=1
        ).start() as run:
            await inlet.send(1)
            await gate.entered()
            await settle()
            assert inner.asked[1] <= 4
            run.cancel()
    assert inner.closed == {1: 1}


async def test_completes_when_its_input_has_and_the_last_iterable_is_read() -> None:
    pages, probe = Pages(), Probe[str]()
    async with Pipeline("p", Stream([1]).switch_map(pages).to(probe)).start() as run:
        await settle()
        await pages.give(1, "a")
        assert run.state == "running"
        await pages.give(1, "b", None)
        with anyio.fail_after(PATIENCE):
            await run.wait()
    assert probe.events == ["a", "b"]


# Switching --------------------------------------------------------------------------------------------------


async def test_the_one_before_is_closed_before_the_next_is_opened() -> None:
    order: list[str] = []

    async def noted(n: int) -> AsyncIterator[int]:
        order.append(f"{n} opened")
        try:
            yield n
            await anyio.sleep_forever()
        finally:
            order.append(f"{n} closed")

    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).switch_map(noted).to(probe)).start():
        for n in (1, 2, 3):
            await inlet.send(n)
            await probe.until(n)
            await settle()
        assert order == ["1 opened", "1 closed", "2 opened", "2 closed", "3 opened"]
    assert order[-1] == "3 closed"
    assert probe.events == [1, 2, 3]


async def test_of_events_that_wait_only_the_last_is_opened() -> None:
    inlet, pages, probe = Inlet[int](), Pages(), Probe[str]()
    async with Pipeline("p", Stream(inlet).switch_map(pages).to(probe)).start():
        for n in (1, 2, 3):
            inlet.send_nowait(n)
        await settle()
        assert pages.opened == [3]
        await pages.give(3, "c")
    assert probe.events == ["c"]


async def test_what_is_never_opened_is_closed_too() -> None:
    closed: Counter[int] = Counter()

    class Rows:
        def __init__(self, n: int) -> None:
            self.n = n

        def __aiter__(self) -> AsyncIterator[int]:
            return up_to(self.n)

        async def aclose(self) -> None:
            closed[self.n] += 1

    assert await Stream([1, 2, 3]).switch_map(Rows).collect() == [0, 1, 2]
    assert closed == {1: 1, 2: 1}


async def test_coroutines_are_awaited_until_the_next_event() -> None:
    inlet, gate, probe = Inlet[int](), Gate(), Probe[int]()

    async def search(n: int) -> list[int]:
        if n == 1:
            await gate()
        return [n, n]

    async with Pipeline("p", Stream(inlet).switch_map(search).to(probe)).start():
        await inlet.send(1)
        await gate.entered()
        await inlet.send(2)
        assert await probe.until(2) == [2, 2]
        assert gate.inside == 0


@pytest.mark.parametrize("size", [1, 1024])
async def test_a_collection_is_emitted_whole_whatever_comes(size: int) -> None:
    probe = Probe[int]()
    stream = Stream([1, 2, 3]).switch_map(lambda n: list(range(20)))
    await Pipeline("p", stream.to(probe), capacity=size, chunk=size).run()
    assert probe.events == [*range(20)] * 3


async def test_a_lazy_iterable_is_read_bit_by_bit_until_the_next_event() -> None:
    closed: list[int] = []

    def endless(n: int) -> Iterator[int]:
        try:
            while True:
                yield n
        finally:
            closed.append(n)

    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline(
            "p", Stream(inlet).switch_map(endless).take_while(lambda n: n < 3).to(probe)
        ).start():
            await inlet.send(1)
            await probe.until(20)
            await inlet.send(2)
            while 2 not in probe.events:
                await checkpoint()
            await inlet.send(3)
            while not inlet.closed:
                await checkpoint()
    assert closed == [1, 2, 3]
    assert probe.events == sorted(probe.events)


async def test_inner_streams_run_until_the_next_event() -> None:
    inlet, rooms, probe = Inlet[int](), {n: Endlessly() for n in (1, 2)}, Probe[str]()
    async with Pipeline(
        "p", Stream(inlet).switch_map(lambda n: Stream(lambda: rooms[n](n)).map(str).buffer(2)).to(probe)
    ).start():
        await inlet.send(1)
        await probe.until(3)
        await inlet.send(2)
        while "2" not in probe.events:
            await checkpoint()
        assert rooms[1].closed == {1: 1}
    assert rooms[2].closed == {2: 1}
    assert probe.events == sorted(probe.events)


# Failures ---------------------------------------------------------------------------------------------------


async def test_a_failure_ends_the_run_with_the_event() -> None:
    with pytest.raises(LookupError, match="broken 2") as failure:
        await Stream([2]).switch_map(breaks).collect()
    assert failure.value.__notes__ == ["in pipeline 'stream', operator switch_map(breaks), event 2"]


async def test_a_function_that_fails_is_a_failure_of_its_event() -> None:
    def fails(n: int) -> list[int]:
        if n == 2:
            raise LookupError("broken")
        return [n]

    numbers = Stream([1, 2, 3])
    assert await numbers.switch_map(fails, on_error=Skip()).collect() == [1, 3]
    assert await numbers.switch_map(fails, on_error=Fallback(lambda n: [7])).collect() == [1, 7, 3]


async def test_a_lazy_iterable_that_fails_has_given_what_came_before() -> None:
    def items(n: int) -> Iterator[int]:
        yield n
        raise LookupError("broken")

    stream = Stream([1]).switch_map(items, on_error=Fallback(lambda n: iter([7, 8])))
    assert await stream.collect() == [1, 7, 8]


async def test_dead_letters_keep_the_event() -> None:
    letters: list[Any] = []
    stream = Stream(Log([2])).switch_map(breaks, on_error=DeadLetters())
    await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    assert [(letter.event, letter.origin.position) for letter in letters] == [(2, 0)]


async def test_what_is_raised_while_it_is_closed_is_not_lost() -> None:
    async def fails_late(n: int) -> AsyncIterator[int]:
        try:
            yield n
            await anyio.sleep_forever()
        finally:
            if n == 1:
                raise LookupError("while closing")

    inlet, probe = Inlet[int](), Probe[int]()
    with pytest.raises(LookupError, match="while closing"):
        async with Pipeline("p", Stream(inlet).switch_map(fails_late).to(probe)).start() as run:
            await inlet.send(1)
            await probe.until(1)
            await inlet.send(2)
            await run.wait()


# Ends -------------------------------------------------------------------------------------------------------


async def test_when_nobody_wants_more_it_is_closed() -> None:
    inner = Endlessly()
    with anyio.fail_after(PATIENCE):
        assert await Stream([1]).switch_map(inner).take(3).collect() == [1, 1, 1]
    assert inner.closed == {1: 1}


async def test_a_drain_ends_the_one_that_is_open_and_counts_it() -> None:
    inlet, inner, probe = Inlet[int](), Endlessly(), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).switch_map(inner, name="live").to(probe)).start() as run:
            await inlet.send(1)
            await probe.until(3)
    assert run.state == "complete"
    assert inner.closed == {1: 1}
    dropped = [stage.dropped for stage in run.metrics().stages if stage.dropped]
    assert dropped == [{"live: ended by the drain": 1}]


async def test_a_drain_after_its_input_has_ended_ends_it_too() -> None:
    pages = Pages()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream([1]).switch_map(pages).discard()).start():
            await settle()
            assert pages.open == {1}
    assert pages.closed == {1: 1}


async def test_a_drain_over_a_log_leaves_the_event_to_be_read_again() -> None:
    log, pages, probe = Log([1, 2], follow=True, most=1), Pages(), Probe[str]()
    async with Pipeline("p", Stream(log).switch_map(pages).to(probe), interval=0.001).start():
        await settle()
        await pages.give(2, "b")
        await probe.until(1)
    assert probe.events == ["b"]
    assert pages.closed[2] == 1
    assert log.committed <= 1


async def test_a_drain_commits_no_barrier_behind_the_one_that_it_ends() -> None:
    log, pages, sent = Log([1], follow=True), Pages(), anyio.Event()
    end = Stream(log).switch_map(pages).to(Probe[str]())
    run = Execution(Graph("p", (end.node,), interval=0.001))
    source = run.stages[0]

    async with anyio.create_task_group() as tasks:
        forward = source.mark

        def note(mark: Mark) -> None:
            forward(mark)
            sent.set()

        source.mark = note  # type: ignore[method-assign]
        tasks.start_soon(run.execute)
        with anyio.fail_after(PATIENCE):
            await sent.wait()
        await settle()
        assert pages.open == {1}
        run.drain()
    assert log.committed == 0


async def test_a_drain_lets_a_finished_one_be_committed() -> None:
    log, pages, probe = Log([1], follow=True), Pages(), Probe[str]()
    async with Pipeline("p", Stream(log).switch_map(pages).to(probe)).start():
        await settle()
        await pages.give(1, "a", None)
    assert probe.events == ["a"]
    assert log.committed == 1


async def test_cancelling_closes_it_once() -> None:
    inner = Endlessly()
    with pytest.raises(Cancelled) as cancelled:
        async with Pipeline("p", Stream([1]).switch_map(inner).discard()).start() as run:
            while not inner.asked:
                await checkpoint()
            run.cancel()
    assert inner.closed == {1: 1}
    assert cancelled.value.in_flight == 1


async def test_endless_events_are_no_reason_to_read_without_end() -> None:
    numbers, gate = Endless(), Gate()
    with pytest.raises(Cancelled):
        stream = Stream(numbers).switch_map(lambda n: [n])
        async with Pipeline("p", stream.to(gate), capacity=1, chunk=1).start() as run:
            await gate.entered()
            await settle()
            assert numbers.read <= 10
            run.cancel()


# Marks ------------------------------------------------------------------------------------------------------


async def test_a_barrier_waits_behind_what_is_open() -> None:
    pages = Pages()
    async with Bench(lambda s: s.switch_map(pages)) as bench:
        await bench.send(1, Barrier(1))
        await pages.give(1, "a")
        assert bench.seen == []
        await bench.send(2)
        assert bench.seen == ["a", Barrier(1)]
        await pages.give(2, "b", None)
        await bench.send(Barrier(2))
    assert bench.seen == ["a", Barrier(1), "b", Barrier(2)]
