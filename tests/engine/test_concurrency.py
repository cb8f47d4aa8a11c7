"""The pool: concurrency, order, keys, threads, processes. Never more in flight or waiting than concurrency."""

import os
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import ArgumentError, GraphError, Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Probe, settle

pytestmark = pytest.mark.anyio


class Doors:
    """A function whose calls each wait at a door of their own; counts who is inside."""

    def __init__(self) -> None:
        self.doors: dict[Any, anyio.Event] = {}
        self.inside: list[Any] = []
        self.called: list[Any] = []
        self.most = 0

    async def __call__(self, event: Any) -> Any:
        self.called.append(event)
        self.inside.append(event)
        self.most = max(self.most, len(self.inside))
        await self.doors.setdefault(event, anyio.Event()).wait()
        self.inside.remove(event)
        return event

    def open(self, *events: Any) -> None:
        for event in events:
            self.doors.setdefault(event, anyio.Event()).set()


@pytest.mark.parametrize("concurrency", [1, 2, 7, 100])
@pytest.mark.parametrize("ordered", [True, False])
async def test_exactly_concurrency_are_in_flight(concurrency: int, ordered: bool) -> None:
    gate, numbers = Gate(), Endless()
    async with anyio.create_task_group() as tasks:
        stream = Stream(numbers).map(gate, concurrency=concurrency, ordered=ordered)
        tasks.start_soon(Pipeline("p", stream.discard()).run)
        await gate.entered(concurrency)
        await settle()
        assert gate.inside == gate.most == concurrency
        tasks.cancel_scope.cancel()


async def test_an_async_function_alone_means_one_at_a_time() -> None:
    doors = Doors()
    doors.open(*range(20))
    assert await Stream(range(20)).map(doors).collect() == list(range(20))
    assert doors.most == 1


async def test_in_order_those_that_are_done_wait_for_their_turn_within_concurrency() -> None:
    doors, probe = Doors(), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(10)).map(doors, concurrency=4).to(probe)).start():
            await settle()
            assert doors.called == [0, 1, 2, 3]
            doors.open(1, 2, 3)
            await settle()
            # Done, but it isn't their turn: with 0 they are four, so nobody else is called.
            assert doors.called == [0, 1, 2, 3]
            assert probe.events == []
            doors.open(0)
            await settle()
            assert probe.events == [0, 1, 2, 3]
            assert doors.called == list(range(8))
            doors.open(*range(10))
    assert probe.events == list(range(10))


async def test_unordered_results_come_as_they_are_done() -> None:
    doors, probe = Doors(), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(4)).map(doors, concurrency=4, ordered=False).to(probe)).start():
            for n in (2, 0, 3, 1):
                doors.open(n)
                await settle()
    assert probe.events == [2, 0, 3, 1]


async def test_one_slow_event_unordered_holds_nobody_up() -> None:
    doors, probe = Doors(), Probe[int]()
    doors.open(*range(1, 1000))
    with anyio.fail_after(PATIENCE):
        stream = Stream(range(1000)).map(doors, concurrency=2, ordered=False)
        async with Pipeline("p", stream.to(probe)).start():
            await probe.until(999)
            assert doors.inside == [0]
            doors.open(0)
    assert sorted(probe.events) == list(range(1000))


async def test_by_key_each_key_is_in_order_and_one_at_a_time() -> None:
    running: set[str] = set()
    overlaps: list[str] = []

    async def call(event: tuple[str, int]) -> tuple[str, int]:
        key = event[0]
        if key in running:
            overlaps.append(key)
        running.add(key)
        for _ in range(hash(event) % 7):
            await checkpoint()
        running.remove(key)
        return event

    events = [(key, n) for n in range(40) for key in "abcde"]
    seen = await Stream(events).map(call, concurrency=4, key=lambda event: event[0]).collect()
    assert overlaps == []
    assert sorted(seen) == sorted(events)
    for key in "abcde":
        assert [n for k, n in seen if k == key] == list(range(40))


async def test_a_slow_key_does_not_hold_up_the_others() -> None:
    doors, probe = Doors(), Probe[tuple[str, int]]()
    fast = [("fast", n) for n in range(50)]
    doors.open(*fast)
    with anyio.fail_after(PATIENCE):
        stream = Stream([("slow", 0), *fast]).map(doors, concurrency=2, key=lambda event: event[0])
        async with Pipeline("p", stream.to(probe)).start():
            await probe.until(50)
            assert doors.inside == [("slow", 0)]
            doors.open(("slow", 0))
    assert probe.events == [*fast, ("slow", 0)]


async def test_by_key_no_more_than_concurrency_are_held() -> None:
    numbers, gate = Endless(), Gate()
    async with anyio.create_task_group() as tasks:
        stream = Stream(numbers).map(gate, concurrency=8, key=lambda n: 0)
        tasks.start_soon(Pipeline("p", stream.discard(), capacity=1, chunk=1).run)
        await gate.entered(1)
        await settle()
        assert gate.inside == 1
        assert numbers.read <= 8 + 4
        tasks.cancel_scope.cancel()


async def test_more_concurrency_than_events() -> None:
    doors = Doors()
    doors.open(1, 2)
    assert await Stream([1, 2]).map(doors, concurrency=1000).collect() == [1, 2]


async def test_workers_are_made_as_they_are_needed() -> None:
    """Events that come one by one need one worker, whatever the concurrency."""
    tasks: set[str] = set()

    async def call(n: int) -> int:
        await checkpoint()
        tasks.add(anyio.get_current_task().name)
        return n

    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).map(call, concurrency=100).to(probe)).start():
        for n in range(50):
            await inlet.send(n)
            await probe.until(n + 1)
            await settle()
    assert len(tasks) <= 2


@pytest.mark.parametrize("verb", ["map", "filter", "tap", "flat_map"])
async def test_every_verb_takes_concurrency(verb: str) -> None:
    gate = Gate()

    async def call(n: int) -> list[int]:
        await gate(n)
        return [n]

    with anyio.fail_after(PATIENCE):
        probe = Probe[Any]()
        stream = getattr(Stream(range(5)), verb)(call, concurrency=5)
        async with Pipeline("p", stream.to(probe)).start():
            await gate.entered(5)
            gate.open()
    assert len(probe.events) == 5


async def test_starmap_takes_concurrency() -> None:
    async def add(a: int, b: int) -> int:
        await checkpoint()
        return a + b

    assert await Stream([(1, 2), (3, 4)]).starmap(add, concurrency=2).collect() == [3, 7]


# Threads ----------------------------------------------------------------------------------------------------


async def test_threads_run_side_by_side_off_the_loop_and_keep_the_order() -> None:
    barrier = threading.Barrier(3)
    loops_thread = threading.get_ident()

    def call(n: int) -> tuple[int, bool]:
        barrier.wait(PATIENCE)
        return n, threading.get_ident() == loops_thread

    with anyio.fail_after(PATIENCE):
        assert await Stream(range(6)).map(call, threads=3).collect() == [(n, False) for n in range(6)]


async def test_threads_never_more_than_asked_for() -> None:
    lock = threading.Lock()
    inside = most = 0

    def call(n: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.001)
        with lock:
            inside -= 1
        return n

    assert await Stream(range(40)).map(call, threads=3).collect() == list(range(40))
    assert 2 <= most <= 3


async def test_two_maps_with_threads_have_pools_of_their_own() -> None:
    """A pool that is used up by one must not starve another, nor the application's own threads."""
    release = threading.Event()

    def blocks(n: int) -> int:
        release.wait(PATIENCE)
        return n

    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(60)).map(blocks, threads=50).discard()).start():
            await settle()
            assert await Stream([1]).map(lambda n: n + 1, threads=1).collect() == [2]
            assert await anyio.to_thread.run_sync(lambda: 3) == 3
            release.set()


async def test_a_thread_that_fails_raises_what_it_raised() -> None:
    def fails(n: int) -> int:
        raise LookupError("in a thread")

    with pytest.raises(LookupError, match="in a thread") as failure:
        await Stream([1]).map(fails, threads=2).collect()
    assert "operator map(fails), event 1" in failure.value.__notes__[0]


async def test_threads_may_be_unordered_and_by_key() -> None:
    assert sorted(await Stream(range(20)).map(abs, threads=4, ordered=False).collect()) == list(range(20))
    assert sorted(await Stream(range(20)).map(abs, threads=4, key=lambda n: n % 2).collect()) == list(
        range(20)
    )


async def test_filter_in_threads() -> None:
    assert await Stream(range(6)).filter(lambda n: n % 2, threads=2).collect() == [1, 3, 5]


# Processes --------------------------------------------------------------------------------------------------


def square_in_process(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def add_in_process(a: int, b: int) -> int:
    return a + b


def fail_in_process(n: int) -> int:
    raise LookupError("over there")


async def test_processes_compute_elsewhere_and_keep_the_order() -> None:
    results = await Stream(range(10)).map(square_in_process, processes=2).collect()
    assert [square for square, _ in results] == [n * n for n in range(10)]
    assert os.getpid() not in {pid for _, pid in results}


async def test_starmap_in_a_process() -> None:
    assert await Stream([(1, 2)]).starmap(add_in_process, processes=1).collect() == [3]


async def test_a_process_that_fails_raises_what_it_raised() -> None:
    with pytest.raises(LookupError, match="over there") as failure:
        await Stream([1]).map(fail_in_process, processes=1).collect()
    assert "operator map(fail_in_process), event 1" in failure.value.__notes__[0]


def local() -> Callable[[int], int]:
    def inner(n: int) -> int:
        return n

    return inner


@pytest.mark.parametrize("fn", [lambda n: n, local()], ids=["lambda", "local function"])
async def test_what_another_process_cannot_import_is_refused_at_build(
    fn: Callable[[int], int],
) -> None:
    with pytest.raises(GraphError, match=r"another process can import .* at the top level of a module"):
        Pipeline("p", Stream([1]).map(fn, processes=2).discard())


# The function -----------------------------------------------------------------------------------------------


async def test_a_function_that_returns_no_awaitable_is_told_so() -> None:
    with pytest.raises(ArgumentError, match=r"returned a int, which can't be awaited; drop concurrency="):
        await Stream([1]).map(lambda n: n, concurrency=2).collect()  # type: ignore[arg-type, return-value]


async def test_any_awaitable_will_do() -> None:
    class Later:
        def __init__(self, n: int) -> None:
            self.n = n

        def __await__(self) -> Any:
            yield from checkpoint().__await__()
            return self.n

    assert await Stream([1, 2]).map(Later, concurrency=2).collect() == [1, 2]


async def test_a_partial_and_an_object_with_an_async_call_are_async() -> None:
    import functools

    class Adder:
        async def __call__(self, n: int) -> int:
            await checkpoint()
            return n + 1

    async def add(a: int, b: int) -> int:
        await checkpoint()
        return a + b

    assert await Stream([1]).map(Adder()).map(functools.partial(add, 5)).collect() == [7]


async def test_results_do_not_depend_on_how_the_input_is_cut() -> None:
    async def call(n: int) -> int:
        for _ in range(n % 3):
            await checkpoint()
        return n

    for capacity, chunk in ((1, 1), (1, 1024), (3, 2), (1024, 1024)):
        for concurrency in (1, 2, 5, 64):
            probe = Probe[int]()
            stream = Stream(range(200)).map(call, concurrency=concurrency)
            await Pipeline("p", stream.to(probe), capacity=capacity, chunk=chunk).run()
            assert probe.events == list(range(200)), (capacity, chunk, concurrency)
