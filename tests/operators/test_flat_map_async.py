"""flat_map over async iterables: up to n are open, each is read with backpressure and closed exactly once."""

import functools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    ArgumentError,
    Cancelled,
    DeadLetters,
    DrainTimeout,
    Fallback,
    Inlet,
    Pipeline,
    Skip,
    Stream,
    Tumbling,
)
from reactor.engine.elements import Barrier
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.engine.test_marks import Bench

pytestmark = pytest.mark.anyio


class Pages:
    """Inner streams that give what a test says, and note how they were read and closed."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.closed: Counter[Any] = Counter()
        self.asked: Counter[Any] = Counter()
        self._gates: dict[Any, anyio.Event] = {}
        self._items: dict[Any, list[Any]] = {}

    async def __call__(self, event: Any) -> AsyncIterator[Any]:
        self.opened.append(event)
        try:
            while True:
                self.asked[event] += 1
                while not self._items.get(event):
                    self._gates[event] = anyio.Event()
                    await self._gates[event].wait()
                item = self._items[event].pop(0)
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed[event] += 1

    async def give(self, event: Any, *items: Any) -> None:
        """Items; None ends it, an exception is raised."""
        self._items.setdefault(event, []).extend(items)
        if event in self._gates:
            self._gates[event].set()
        await settle()

    @property
    def open(self) -> set[Any]:
        return {event for event in self.opened if not self.closed[event]}


class Endlessly:
    """Async generators that never end, and how often each was asked and closed."""

    def __init__(self) -> None:
        self.asked: Counter[Any] = Counter()
        self.closed: Counter[Any] = Counter()

    async def __call__(self, event: Any) -> AsyncIterator[Any]:
        try:
            while True:
                self.asked[event] += 1
                await checkpoint()
                yield event
        finally:
            self.closed[event] += 1


async def up_to(n: int) -> AsyncIterator[int]:
    for item in range(n):
        await checkpoint()
        yield item


# The three lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
async def test_emits_when_the_iterable_gives_an_item(ordered: bool) -> None:
    pages, probe = Pages(), Probe[str]()
    stream = Stream([1]).flat_map(pages, concurrency=2, ordered=ordered)
    async with Pipeline("p", stream.to(probe)).start():
        await settle()
        await pages.give(1, "a")
        assert probe.events == ["a"]
        await pages.give(1, "b")
        assert probe.events == ["a", "b"]
        await pages.give(1, None)


@pytest.mark.parametrize("ordered", [True, False])
async def test_backpressures_when_concurrency_are_open(ordered: bool) -> None:
    pages, numbers = Pages(), Endless()
    stream = Stream(numbers).flat_map(pages, concurrency=3, ordered=ordered)
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.discard(), capacity=1, chunk=1).start() as run:
            await settle()
            assert pages.opened == [1, 2, 3]
            assert numbers.read <= 6
            await pages.give(1, None)
            assert pages.opened == [1, 2, 3, 4]
            run.cancel()
    assert pages.closed == {1: 1, 2: 1, 3: 1, 4: 1}


async def test_backpressures_when_the_next_operator_does_in_the_middle_of_an_iterable() -> None:
    inner, gate = Endlessly(), Gate()
    stream = Stream([1]).flat_map(inner)
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.to(gate), capacity=1, chunk=1).start() as run:
            await gate.entered()
            await settle()
            assert inner.asked[1] <= 4
            run.cancel()
    assert inner.closed == {1: 1}


@pytest.mark.parametrize("ordered", [True, False])
async def test_each_of_several_is_read_with_backpressure(ordered: bool) -> None:
    inner, gate = Endlessly(), Gate()
    stream = Stream([1, 2, 3]).flat_map(inner, concurrency=3, ordered=ordered)
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.to(gate), capacity=4, chunk=1).start() as run:
            await gate.entered()
            await settle()
            assert max(inner.asked.values()) <= 10
            run.cancel()
    assert inner.closed == {1: 1, 2: 1, 3: 1}


async def test_completes_when_the_last_iterable_is_read() -> None:
    pages, probe = Pages(), Probe[str]()
    async with Pipeline("p", Stream([1, 2]).flat_map(pages, concurrency=2).to(probe)).start() as run:
        await settle()
        await pages.give(2, "b", None)
        await pages.give(1, "a")
        assert run.state == "running"
        await pages.give(1, None)
        with anyio.fail_after(PATIENCE):
            await run.wait()
    assert probe.events == ["a", "b"]


# Order ------------------------------------------------------------------------------------------------------


async def test_an_async_generator_function_alone_means_one_at_a_time() -> None:
    pages, probe = Pages(), Probe[str]()
    async with Pipeline("p", Stream([1, 2]).flat_map(pages).to(probe)).start():
        await settle()
        assert pages.opened == [1]
        await pages.give(1, "a", None)
        assert pages.opened == [1, 2]
        await pages.give(2, None)


async def test_one_at_a_time_is_asked_for_no_more_than_is_wanted() -> None:
    inner = Endlessly()
    assert await Stream([1]).flat_map(inner).take(3).collect() == [1, 1, 1]
    assert inner.asked == {1: 3}
    assert inner.closed == {1: 1}


async def test_in_order_the_others_are_read_ahead_but_not_far() -> None:
    pages, probe = Pages(), Probe[str]()
    async with Pipeline("p", Stream([1, 2]).flat_map(pages, concurrency=2).to(probe)).start():
        await settle()
        await pages.give(2, *range(100), None)
        assert probe.events == []
        assert pages.asked[2] == 16
        await pages.give(1, "a", None)
        assert probe.events == ["a", *range(100)]


async def test_unordered_an_item_waits_for_nobody() -> None:
    pages, probe = Pages(), Probe[str]()
    stream = Stream([1, 2]).flat_map(pages, concurrency=2, ordered=False)
    async with Pipeline("p", stream.to(probe)).start():
        await settle()
        await pages.give(2, "b")
        await pages.give(1, "a")
        await pages.give(2, "c", None)
        assert probe.events == ["b", "a", "c"]
        await pages.give(1, None)


@pytest.mark.parametrize("size", [1, 2, 1024])
@pytest.mark.parametrize("concurrency", [1, 2, 7])
async def test_in_order_the_result_depends_on_no_capacity(size: int, concurrency: int) -> None:
    probe = Probe[int]()
    stream = Stream(range(40)).flat_map(up_to, concurrency=concurrency)
    await Pipeline("p", stream.to(probe), capacity=size, chunk=size).run()
    assert probe.events == [item for n in range(40) for item in range(n)]


@pytest.mark.parametrize("size", [1, 2, 1024])
async def test_unordered_each_keeps_its_own_order(size: int) -> None:
    async def pairs(n: int) -> AsyncIterator[tuple[int, int]]:
        async for item in up_to(n):
            yield n, item

    probe = Probe[tuple[int, int]]()
    stream = Stream(range(40)).flat_map(pairs, concurrency=5, ordered=False)
    await Pipeline("p", stream.to(probe), capacity=size, chunk=size).run()
    for n in range(40):
        assert [item for event, item in probe.events if event == n] == list(range(n))


# What the function may be -----------------------------------------------------------------------------------


async def test_whatever_returns_an_async_iterable() -> None:
    class Reader:
        async def read(self, n: int) -> AsyncIterator[int]:
            yield n

        async def __call__(self, n: int) -> AsyncIterator[int]:
            yield n

    async def scaled(by: int, n: int) -> AsyncIterator[int]:
        yield by * n

    async def later(n: int) -> list[int]:
        await checkpoint()
        return [n]

    numbers = Stream([1, 2])
    assert await numbers.flat_map(Reader()).collect() == [1, 2]
    assert await numbers.flat_map(Reader().read).collect() == [1, 2]
    assert await numbers.flat_map(functools.partial(scaled, 10)).collect() == [10, 20]
    assert await numbers.flat_map(lambda n: scaled(10, n), concurrency=2).collect() == [10, 20]
    assert await numbers.flat_map(lambda n: Stream(range(n)), concurrency=2).collect() == [0, 0, 1]
    assert await numbers.flat_map(lambda n: later(n), concurrency=2).collect() == [1, 2]


async def test_a_context_manager_is_entered_and_left() -> None:
    class Connection:
        left = 0

        async def __aenter__(self) -> AsyncIterator[int]:
            return up_to(2)

        async def __aexit__(self, *failure: Any) -> None:
            Connection.left += 1

    stream: Stream[int] = Stream([1, 2]).flat_map(lambda n: Connection(), concurrency=1)  # type: ignore[arg-type,return-value]
    assert await stream.collect() == [0, 1, 0, 1]
    assert Connection.left == 2


async def test_what_is_no_async_iterable_is_refused_whatever_the_policy() -> None:
    stream: Stream[int] = Stream([1]).flat_map(lambda n: [n], concurrency=2, on_error=Skip())  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="returned a list, which can't be awaited; drop concurrency="):
        await stream.collect()


async def test_an_inner_stream_over_a_group_is_refused() -> None:
    log = Log([1, 2])
    with pytest.raises(ArgumentError, match="inner stream over log: its position would be committed"):
        await Stream([1]).flat_map(lambda n: Stream(log).map(str), concurrency=1).collect()
    assert log.calls == []


# Failures ---------------------------------------------------------------------------------------------------


async def breaks(n: int) -> AsyncIterator[int]:
    yield n
    await checkpoint()
    if n == 2:
        raise LookupError(f"broken {n}")
    yield -n


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_failure_ends_the_run_with_the_event_and_closes_the_others(ordered: bool) -> None:
    pages = Pages()
    stream = Stream([1, 2, 3]).flat_map(pages, concurrency=3, ordered=ordered, name="pages")
    with pytest.raises(LookupError, match="broken") as failure:
        async with Pipeline("p", stream.discard()).start() as run:
            await settle()
            await pages.give(2, LookupError("broken"))
            await run.wait()
    assert failure.value.__notes__ == ["in pipeline 'p', operator pages, event 2"]
    assert pages.closed == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("how", [{}, {"concurrency": 3}, {"concurrency": 3, "ordered": False}])
async def test_policies_are_about_the_event(how: dict[str, Any]) -> None:
    numbers = Stream([1, 2, 3])
    skipped = await numbers.flat_map(breaks, on_error=Skip(), **how).collect()
    replaced = await numbers.flat_map(breaks, on_error=Fallback(lambda n: [7, 8]), **how).collect()
    lazily = await numbers.flat_map(breaks, on_error=Fallback(up_to), **how).collect()
    expected = [1, -1, 2, 3, -3], [1, -1, 2, 7, 8, 3, -3], [1, -1, 2, 0, 1, 3, -3]
    if how.get("ordered", True):
        assert (skipped, replaced, lazily) == expected
    else:
        assert [sorted(found) for found in (skipped, replaced, lazily)] == [sorted(e) for e in expected]


async def test_a_dead_letter_keeps_the_record_and_is_stored_before_it_is_committed() -> None:
    letters: list[Any] = []
    log = Log([1, 2, 3])
    stream = Stream(log).flat_map(breaks, concurrency=2, on_error=DeadLetters())
    await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    (letter,) = letters
    assert (letter.event, letter.origin.position, letter.error) == (2, 1, "LookupError: broken 2")
    assert log.committed == 3


async def test_a_dead_letter_of_an_event_without_items_is_stored_before_it_is_committed() -> None:
    log, stored = Log([1], follow=True), Gate()

    async def fails(n: int) -> AsyncIterator[int]:
        raise LookupError(n)
        yield n

    stream = Stream(log).flat_map(fails, concurrency=2, on_error=DeadLetters())
    async with Pipeline("p", stream.to(Probe[int]()), dead_letters=stored, interval=0.001).start():
        await stored.entered()
        for _ in range(20):
            await settle()
        assert log.committed == 0
        stored.open()
        await log.until_committed(1)


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_is_given_while_a_dead_letter_is_stored_follows_it(ordered: bool) -> None:
    pages, stored, probe = Pages(), Gate(), Probe[str]()

    async def two() -> AsyncIterator[int]:
        yield 1
        yield 2
        await anyio.sleep_forever()

    stream = Stream(two).flat_map(pages, concurrency=2, ordered=ordered, on_error=DeadLetters())
    async with Pipeline("p", stream.to(probe), dead_letters=stored).start():
        await settle()
        await pages.give(1, LookupError("broken"))
        await stored.entered()
        await pages.give(2, "b")
        stored.open()
        assert await probe.until(1) == ["b"]
        await pages.give(2, None)


async def test_what_goes_in_and_out_is_counted() -> None:
    async with Pipeline("p", Stream([3, 4]).flat_map(up_to, concurrency=2).to(Probe[int]())).start() as run:
        await run.wait()
    (stage,) = (stage for stage in run.metrics().stages if stage.stage == "flat_map(up_to)")
    assert (stage.events_in, stage.events_out) == (2, 7)


async def test_skipped_events_are_counted() -> None:
    pipeline = Pipeline("p", Stream([1, 2, 3]).flat_map(breaks, on_error=Skip()).discard())
    async with pipeline.start() as run:
        await run.wait()
        (stage,) = (stage for stage in run.metrics().stages if stage.dropped)
        assert stage.dropped == {"flat_map(breaks): skipped": 1}


async def test_a_fallback_that_fails_ends_the_run() -> None:
    def worse(n: int) -> list[int]:
        raise KeyError("worse")

    with pytest.raises(KeyError, match="worse"):
        await Stream([2]).flat_map(breaks, on_error=Fallback(worse)).collect()


async def test_a_str_is_no_iterable_of_letters() -> None:
    async def text(n: int) -> Any:
        return "abc"

    with pytest.raises(TypeError, match="returned a str; wrap it in a list"):
        await Stream([1]).flat_map(lambda n: text(n), concurrency=1).collect()


# Closing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
async def test_when_nobody_wants_more_each_is_closed_once(ordered: bool) -> None:
    inner = Endlessly()
    with anyio.fail_after(PATIENCE):
        stream = Stream(Endless()).flat_map(inner, concurrency=3, ordered=ordered)
        assert len(await stream.take(10).collect()) == 10
    assert set(inner.closed.values()) == {1}
    assert inner.closed.keys() == inner.asked.keys()


async def test_closing_may_take_its_time() -> None:
    """What a generator awaits while it is closed isn't cut off, where it waits for its items to go on."""
    closed: list[int] = []

    async def careful(n: int) -> AsyncIterator[int]:
        try:
            while True:
                yield n
        finally:
            await checkpoint()
            closed.append(n)

    gate = Gate()
    with pytest.raises(Cancelled):
        stream = Stream([1, 2]).flat_map(careful, concurrency=2, ordered=False)
        async with Pipeline("p", stream.to(gate), capacity=1, chunk=1).start() as run:
            await gate.entered()
            await settle()
            run.cancel()
    assert sorted(closed) == [1, 2]


async def test_a_drain_waits_for_what_is_open() -> None:
    inlet, pages, probe = Inlet[int](), Pages(), Probe[str]()
    async with anyio.create_task_group() as tasks:
        async with Pipeline("p", Stream(inlet).flat_map(pages, concurrency=2).to(probe)).start() as run:
            await inlet.send(1)
            await settle()
            await pages.give(1, "a")
            tasks.start_soon(run.drain)
            await settle()
            assert run.state == "draining"
            await pages.give(1, "b", None)
    assert probe.events == ["a", "b"]
    assert pages.closed == {1: 1}


async def test_a_drain_that_takes_too_long_closes_what_is_open() -> None:
    inlet, inner = Inlet[int](), Endlessly()
    with pytest.raises(DrainTimeout):
        async with Pipeline("p", Stream(inlet).flat_map(inner).discard()).start(drain=0.01):
            await inlet.send(1)
    assert inner.closed == {1: 1}


async def test_cancelling_counts_the_events_that_are_open() -> None:
    pages = Pages()
    with pytest.raises(Cancelled) as cancelled:
        async with Pipeline("p", Stream([1, 2, 3]).flat_map(pages, concurrency=2).discard()).start() as run:
            await settle()
            run.cancel()
    assert cancelled.value.in_flight == 3
    assert pages.closed == {1: 1, 2: 1}


# Marks and positions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_barrier_waits_behind_what_is_open(ordered: bool) -> None:
    pages = Pages()
    async with Bench(lambda s: s.flat_map(pages, concurrency=4, ordered=ordered)) as bench:
        await bench.send(1, 2, Barrier(1), 3)
        await pages.give(2, "b", None)
        await pages.give(3, "c", None)
        assert Barrier(1) not in bench.seen
        await pages.give(1, "a", None)
        at = bench.seen.index(Barrier(1))
        assert {"a", "b"} <= set(bench.seen[:at])
        if ordered:
            assert "c" not in bench.seen[:at]


async def test_items_behind_a_barrier_follow_it_at_once() -> None:
    pages = Pages()
    async with Bench(lambda s: s.flat_map(pages, concurrency=4)) as bench:
        await bench.send(1, Barrier(1), 2)
        await pages.give(2, "b", None)
        await pages.give(1, None)
        assert bench.seen == [Barrier(1)]
        assert bench.sink.events == ["b"]


async def test_take_behind_unordered_streams_commits_nothing_that_was_overtaken() -> None:
    pages, log, probe = Pages(), Log([1, 2, 3], follow=True), Probe[str]()
    stream = Stream(log).flat_map(pages, concurrency=2, ordered=False).take(1, volatile=True)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", stream.to(probe)).start() as run:
            await settle()
            await pages.give(2, "b")
            await run.wait()
    assert probe.events == ["b"]
    assert log.committed == 0


async def test_take_behind_streams_in_order_commits_what_it_has_had() -> None:
    log = Log(list(range(100)))
    stream = Stream(log).flat_map(up_to, concurrency=5).take(10, volatile=True)
    await Pipeline("p", stream.to(Probe[int]())).run()
    assert log.committed == 5  # 0 + 1 + 2 + 3 + 4 items


async def test_nothing_is_committed_ahead_of_what_is_open() -> None:
    pages, log, probe = Pages(), Log([1, 2], follow=True), Probe[str]()
    stream = Stream(log).flat_map(pages, concurrency=2, ordered=False)
    async with Pipeline("p", stream.to(probe), interval=0.001).start():
        await settle()
        await pages.give(2, "b", None)
        for _ in range(20):
            await settle()
        assert log.committed == 0
        await pages.give(1, None)
        await log.until_committed(2)


async def test_event_times_go_with_the_items() -> None:
    """Unordered, items overtake others; none is late for it."""

    async def lines(n: int) -> AsyncIterator[int]:
        for _ in range(1 + n % 3):
            await checkpoint()
            yield n

    for how in ({}, {"concurrency": 5}, {"concurrency": 5, "ordered": False}):
        timed = Stream(range(60)).event_time(lambda n: n, unit="s")
        lined = timed.flat_map(lines, **how)  # type: ignore[arg-type]
        results = await lined.window(Tumbling(10)).count().collect()
        assert [result.value for result in results] == [
            sum(1 + n % 3 for n in range(at, at + 10)) for at in range(0, 60, 10)
        ]


async def test_a_sync_function_alone_says_what_to_do() -> None:
    stream = Stream([1]).flat_map(lambda n: up_to(n))
    with pytest.raises(TypeError, match="returned an async iterable; pass concurrency="):
        await stream.collect()


async def test_iterating_in_place_asks_for_open() -> None:
    with pytest.raises(TypeError, match="open"):
        aiter(Stream([1]).flat_map(up_to))
