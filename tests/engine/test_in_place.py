"""Streams read in place: open(), direct iteration where it needs no task, one-shot iterators."""

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import NeedsTask, Pipeline, RateLimit, Stream, UsedTwice
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


# open() -----------------------------------------------------------------------------------------------------


async def test_open_gives_all_events_and_ends() -> None:
    async with Stream(range(5000)).map(plus_one, concurrency=4).open() as events:
        seen = [event async for event in events]
    assert seen == list(range(1, 5001))


async def test_open_of_an_empty_stream() -> None:
    async with Stream([]).buffer(1).open() as events:
        assert [event async for event in events] == []


async def test_leaving_early_stops_and_closes_the_source() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await checkpoint()
                yield 1
        finally:
            closed.append(True)

    with anyio.fail_after(PATIENCE):
        async with Stream(endless).map(plus_one).open() as events:
            async for event in events:
                assert event == 2
                break
    assert closed == [True]


async def test_leaving_without_reading_stops_it() -> None:
    with anyio.fail_after(PATIENCE):
        async with Stream(Endless()).buffer(2).open():
            pass


async def test_leaving_while_a_function_waits() -> None:
    gate = Gate()
    with anyio.fail_after(PATIENCE):
        async with Stream([1, 2]).map(gate, concurrency=2).open():
            await gate.entered(2)
    assert gate.inside == 0


async def test_what_is_not_read_holds_the_stream_back() -> None:
    numbers = Endless()
    async with Stream(numbers).open(capacity=10) as events:
        await settle()
        assert numbers.read <= 30
        assert await anext(events) == 1


async def test_a_failure_comes_after_the_events_before_it_and_as_it_is() -> None:
    def fails_at_3(n: int) -> int:
        if n == 3:
            raise LookupError("three")
        return n

    seen: list[int] = []
    with pytest.raises(LookupError, match="three"):
        async with Stream(range(10)).map(fails_at_3).buffer(1).map(plus_one).open() as events:
            async for event in events:
                seen.append(event)
    assert seen in ([], [1], [1, 2], [1, 2, 3])


async def test_a_failure_that_nobody_reads_is_not_lost() -> None:
    def fails(n: int) -> int:
        raise LookupError("unread")

    with pytest.raises(LookupError, match="unread"):
        async with Stream([1]).map(fails).open():
            await settle()


async def test_an_exception_in_the_block_is_raised_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Stream(Endless()).map(plus_one).open() as events:
            async for _ in events:
                raise LookupError("mine")


async def test_cancelling_the_reader_stops_the_stream() -> None:
    gate = Gate()
    with anyio.move_on_after(0.01) as scope:
        async with Stream([1]).map(gate).open() as events:
            await anext(events)
    assert scope.cancelled_caught
    assert gate.inside == 0


async def test_positions_are_committed_for_what_the_reader_took() -> None:
    log = Log(range(100), follow=True)
    async with Stream(log).open(capacity=4) as events:
        for _ in range(10):
            await anext(events)
    assert log.committed <= 10 + 4 + 16
    assert log.calls[-1] == "close"


async def test_a_reader_that_takes_all_commits_all() -> None:
    log = Log(range(10))
    async with Stream(log).open() as events:
        assert len([event async for event in events]) == 10
    assert log.committed == 10


async def test_a_reader_that_takes_nothing_commits_nothing() -> None:
    log = Log(range(10), follow=True)
    async with Stream(log).open():
        await settle()
    assert log.committed == 0


async def test_open_twice_at_once() -> None:
    stream = Stream(range(3)).map(plus_one)
    async with stream.open() as left, stream.open() as right:
        assert await anext(left) == await anext(right) == 1
        assert [n async for n in left] == [n async for n in right] == [2, 3]


async def test_a_branch_of_a_split_whose_other_is_unused_is_refused() -> None:
    yes, _ = Stream(range(3)).split(bool)
    with pytest.raises(Exception, match="output 1 is used by nobody"):
        yes.open()


# Direct iteration -------------------------------------------------------------------------------------------


async def test_iterating_directly_where_no_task_is_needed() -> None:
    stream = Stream(range(5000)).map(lambda n: n + 1).filter(lambda n: n % 2).batch(2)
    seen = [event async for event in stream]
    assert seen[:2] == [[1, 3], [5, 7]]
    assert sum(map(len, seen)) == 2500


async def test_iterating_over_async_sources_and_callables() -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(3):
            await checkpoint()
            yield n

    assert [n async for n in Stream(numbers)] == [0, 1, 2]
    assert [n async for n in Stream(numbers()).map(str)] == ["0", "1", "2"]
    assert [n async for n in Stream(lambda: [1, 2])] == [1, 2]


async def test_iterating_over_an_endless_stream_and_leaving_it() -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    events = aiter(Stream(endless).map(lambda n: n + 1))
    assert await anext(events) == 2
    await events.aclose()  # type: ignore[attr-defined]
    assert closed == [True]


async def test_iterating_gives_what_came_before_a_failure() -> None:
    def fails_at_3(n: int) -> int:
        if n == 3:
            raise LookupError("three")
        return n

    seen: list[int] = []
    with pytest.raises(LookupError, match="three"):
        async for n in Stream(range(10)).map(fails_at_3):
            seen.append(n)
    assert seen == [0, 1, 2]


async def test_iterating_over_take_ends() -> None:
    assert [n async for n in Stream(Endless()).take(3)] == [1, 2, 3]


async def test_iterating_over_a_lazy_flat_map_reads_bit_by_bit() -> None:
    numbers = Endless()
    events = aiter(Stream([1]).flat_map(lambda n: numbers))
    assert await anext(events) == 1
    assert numbers.read < 5000
    await events.aclose()  # type: ignore[attr-defined]


async def test_iterating_lets_other_tasks_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        async for _ in Stream(range(300_000)):
            pass
        tasks.cancel_scope.cancel()
    assert turns >= 10


NEED_TASKS = {
    "async map": Stream([1]).map(plus_one),
    "concurrency": Stream([1]).map(plus_one, concurrency=2),
    "buffer": Stream([1]).buffer(1),
    "merge": Stream([1]).merge(Stream([2])),
    "zip": Stream([1]).zip(Stream([2])),
    "rate_limit": Stream([1]).rate_limit(RateLimit(1)),
    "timed batch": Stream([1]).batch(2, max_wait=1),
    "source with positions": Stream(Log([1])),
}


@pytest.mark.parametrize("what", NEED_TASKS)
async def test_iterating_where_tasks_are_needed_names_open(what: str) -> None:
    with pytest.raises(NeedsTask, match=r"needs tasks of its own .*`async with stream.open\(\) as events:`"):
        async for _ in NEED_TASKS[what]:
            pass


# One-shot iterators -----------------------------------------------------------------------------------------


async def test_an_iterator_is_used_once() -> None:
    stream = Stream(iter([1, 2]))
    assert await stream.collect() == [1, 2]
    with pytest.raises(
        UsedTwice, match=r"Stream\(list_iterator\): .* pass a callable that returns a new one"
    ):
        await stream.collect()


async def test_an_async_iterator_is_used_once() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    stream = Stream(numbers())
    assert await stream.collect() == [1]
    with pytest.raises(UsedTwice, match=r"a new one for each run: Stream\(lambda: ...\)"):
        await stream.collect()


async def test_a_generator_that_was_not_read_to_its_end_is_closed_and_used() -> None:
    closed: list[bool] = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(100_000)
        finally:
            closed.append(True)

    stream = Stream(numbers())
    assert await stream.first() == 0
    assert closed == [True]
    with pytest.raises(UsedTwice):
        await stream.first()


async def test_lists_ranges_and_callables_are_read_from_the_beginning_each_time() -> None:
    for source in ([1, 2], range(1, 3), lambda: iter([1, 2]), {1: "a", 2: "b"}, (1, 2)):
        stream = Stream(source)
        assert await stream.collect() == await stream.collect() == [1, 2]


async def test_an_iterable_wins_over_a_callable() -> None:
    class Both:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def __call__(self) -> list[int]:
            return [2]

    assert await Stream(Both()).collect() == [1]


@pytest.mark.parametrize("returned", ["text", 5, None])
async def test_a_callable_that_returns_no_iterable_is_an_error_that_names_it(returned: object) -> None:
    def source() -> object:
        return returned

    with pytest.raises(ValueError, match=r"Stream\(source\): the callable returned a \w+; it has to return"):
        await Stream(source).collect()  # type: ignore[arg-type]


async def test_a_list_is_read_as_it_is_when_the_run_comes_to_it() -> None:
    numbers = [1]
    stream = Stream(numbers)
    numbers.append(2)
    assert await stream.collect() == [1, 2]


async def test_a_pipeline_over_a_used_iterator_fails_and_closes() -> None:
    pipeline = Pipeline("p", Stream(iter([1])).discard())
    await pipeline.run()
    with pytest.raises(UsedTwice):
        await pipeline.run()
