"""Streams shared by branches run once, at the pace of the slowest; who is done leaves; deadlocks are named."""

from collections.abc import Callable, Iterator, Sequence

import anyio
import pytest

from reactor import Deadlock, Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


async def test_a_shared_source_is_opened_once_and_both_branches_get_all() -> None:
    log, left, right = Log(range(100)), Probe[int]("left"), Probe[int]("right")
    shared = Stream(log)
    await Pipeline("p", shared.to(left), shared.map(plus_one).to(right)).run()
    assert log.calls.count("open") == log.calls.count("close") == 1
    assert left.events == list(range(100))
    assert right.events == list(range(1, 101))


async def test_a_shared_function_is_called_once_for_each_event() -> None:
    calls: list[int] = []
    shared = Stream(range(10)).map(lambda n: calls.append(n) or n)
    await Pipeline("p", shared.discard(), shared.map(str).discard(), shared.batch(3).discard()).run()
    assert calls == list(range(10))


async def test_a_callable_that_is_shared_is_called_once() -> None:
    opened: list[int] = []

    def source() -> Iterator[int]:
        opened.append(1)
        yield from range(3)

    shared = Stream(source)
    await Pipeline("p", shared.discard(), shared.discard()).run()
    assert opened == [1]


async def test_the_slowest_branch_sets_the_pace() -> None:
    numbers, gate, free = Endless(), Gate(), Probe[int]("free")
    shared = Stream(numbers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Pipeline("p", shared.to(gate), shared.to(free), capacity=10, chunk=2).run)
        await gate.entered()
        await settle()
        assert 10 <= len(free.events) <= 20
        assert numbers.read <= 30
        tasks.cancel_scope.cancel()


async def test_a_branch_that_is_done_leaves_and_holds_nobody_up() -> None:
    shared = Stream(range(1000))
    few, all_ = Probe[int]("few"), Probe[int]("all")
    with anyio.fail_after(PATIENCE):
        await Pipeline("p", shared.take(2).to(few), shared.to(all_), capacity=2, chunk=1).run()
    assert few.events == [0, 1]
    assert all_.events == list(range(1000))


async def test_when_all_branches_are_done_the_source_stops() -> None:
    numbers, left, right = Endless(), Probe[int]("left"), Probe[int]("right")
    shared = Stream(numbers)
    with anyio.fail_after(PATIENCE):
        await Pipeline("p", shared.take(3).to(left), shared.take(5).to(right), capacity=2, chunk=1).run()
    assert left.events == [1, 2, 3]
    assert right.events == [1, 2, 3, 4, 5]
    assert numbers.read <= 12


async def test_a_branch_that_leaves_while_the_others_block_the_source_frees_nobody_wrongly() -> None:
    inlet, gate, short = Inlet[int](), Gate(), Probe[int]("short")
    shared = Stream(inlet)
    with anyio.fail_after(PATIENCE):
        pipeline = Pipeline("p", shared.to(gate), shared.take(2).to(short), capacity=1, chunk=1)
        async with pipeline.start():
            for n in range(10):
                await inlet.send(n)
            await short.until(2)
            gate.open()
    assert short.events == [0, 1]


async def test_a_failing_branch_fails_the_run() -> None:
    def fails(n: int) -> int:
        raise LookupError("branch")

    shared, probe = Stream(Endless()), Probe[int]()
    with pytest.raises(LookupError, match="branch"):
        await Pipeline("p", shared.map(fails).discard(), shared.to(probe)).run()
    assert probe.calls[-1] == "close"


async def test_a_diamond_has_each_event_twice() -> None:
    shared = Stream(range(50))
    merged = shared.map(lambda n: ("a", n)).merge(shared.map(lambda n: ("b", n)))
    events = await merged.collect()
    assert sorted(events) == sorted([*(("a", n) for n in range(50)), *(("b", n) for n in range(50))])


async def test_two_equal_streams_that_are_not_the_same_object_are_not_shared() -> None:
    log = [1, 2, 3]
    calls: list[int] = []
    left, right = Stream(log).tap(calls.append), Stream(log).tap(calls.append)
    await Pipeline("p", left.discard(), right.discard()).run()
    assert sorted(calls) == [1, 1, 2, 2, 3, 3]


# Deadlocks --------------------------------------------------------------------------------------------------


def zipped(size: int) -> Stream[tuple[int, int]]:
    """The second branch drops 99 of 100 events: meanwhile the first fills up."""
    shared = Stream(range(10_000))
    return shared.buffer(size).zip(shared.filter(lambda n: n % 100 == 99).buffer(size))


async def test_a_zip_whose_buffers_are_too_small_fails_and_names_the_cycle() -> None:
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Deadlock) as failure:
            await Pipeline("p", zipped(10).discard(), capacity=4, chunk=4).run()
    message = str(failure.value)
    assert "pipeline 'p': all stages wait for each other" in message
    assert "waits for room" in message
    assert "waits for events" in message
    assert "zip()" in message
    assert "put a larger buffer(n)" in message


async def test_with_buffers_that_are_large_enough_it_runs() -> None:
    pairs = await zipped(10_000).collect()
    assert pairs == [(n, n * 100 + 99) for n in range(100)]


WAITING: dict[str, Callable[[Stream[int]], Stream[object]]] = {
    "an inlet": lambda s: s,
    "a pool": lambda s: s.map(plus_one, concurrency=4),
    "a timed batch": lambda s: s.batch(5, max_wait=3600),
    "a merge": lambda s: s.merge(Stream([])),
    "a shared stream": lambda s: s.merge(s),
}


@pytest.mark.parametrize("what", WAITING)
async def test_waiting_for_the_outside_is_no_deadlock(what: str) -> None:
    inlet, probe = Inlet[int](), Probe[object]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", WAITING[what](Stream(inlet)).to(probe)).start() as run:
            await settle()
            assert run.state == "running"
            await inlet.send(1)
            await settle()
            assert run.state == "running"
    assert run.state == "complete"


async def test_a_slow_sink_is_no_deadlock() -> None:
    async def write(events: Sequence[int]) -> None:
        await anyio.sleep(0.01)

    await Pipeline("p", Stream(range(10)).to(Probe(on_write=write)), capacity=1, chunk=1).run()


async def test_a_function_that_waits_is_no_deadlock() -> None:
    gate = Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(10)).map(gate).discard(), capacity=1, chunk=1).start() as run:
            await gate.entered()
            await settle()
            assert run.state == "running"
            gate.open()
    assert run.state == "complete"
