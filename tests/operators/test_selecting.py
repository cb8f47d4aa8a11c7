"""take, take_while, skip, skip_while, distinct, and what else remembers: the edges."""

from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Log, Probe

pytestmark = pytest.mark.anyio


async def test_take_reads_no_more_than_it_has_to() -> None:
    numbers = Endless()
    probe = Probe[int]()
    await Pipeline("p", Stream(numbers).take(3).to(probe), chunk=1, capacity=1).run()
    assert probe.events == [1, 2, 3]
    assert numbers.read == 3


async def test_take_completes_with_its_last_event_and_does_not_wait_for_another() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).take(2).to(probe)).start() as run:
            await inlet.send(1)
            await inlet.send(2)
            await run.wait()
    assert probe.events == [1, 2]
    assert inlet.closed


@pytest.mark.parametrize("behind", [lambda s: s.buffer(1), lambda s: s.map(lambda n: n).buffer(2).buffer(2)])
async def test_take_behind_a_channel_stops_a_silent_input(
    behind: Callable[[Stream[int]], Stream[int]],
) -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", behind(Stream(inlet)).take(1).to(probe)).start() as run:
            await inlet.send(1)
            await run.wait()
    assert inlet.closed


async def test_take_behind_a_channel_stops_a_source_that_waits_for_more() -> None:
    log = Log([1, 2], follow=True)
    with anyio.fail_after(PATIENCE):
        assert await Stream(log).buffer(1).take(2, volatile=True).collect() == [1, 2]
    assert log.calls[-1] == "close"
    assert log.committed == 2


@pytest.mark.parametrize("source", [Endless(), [], [1]])
async def test_take_0_is_empty_and_ends(source: list[int]) -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(source).take(0).collect() == []
        assert await Stream(source).map(abs).take(0).map(abs).collect() == []


async def test_take_0_ends_while_the_source_is_silent() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(Inlet[int]()).take(0).collect() == []


async def test_take_stops_the_input_and_closes_it() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await checkpoint()
                yield 1
        finally:
            with anyio.CancelScope(shield=True):  # it may be cancelled where it waits
                await checkpoint()
            closed.append(True)

    assert await Stream(endless).map(abs).buffer(1).take(2).collect() == [1, 1]
    assert closed == [True]


async def test_two_takes() -> None:
    assert await Stream(range(100)).take(5).take(3).collect() == [0, 1, 2]
    assert await Stream(range(100)).take(3).take(5).collect() == [0, 1, 2]
    assert await Stream(range(100)).take(5).filter(lambda n: n % 2).take(2).collect() == [1, 3]


async def test_take_behind_flat_map_stops_in_the_middle_of_an_endless_iterable() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream([1, 2]).flat_map(lambda n: Endless()).take(3).collect() == [1, 2, 3]


async def test_flat_map_inside_take() -> None:
    assert await Stream(range(10)).take(2).flat_map(lambda n: [n, n]).collect() == [0, 0, 1, 1]


async def test_take_then_batch_then_take() -> None:
    assert await Stream(range(10)).take(5).batch(2).take(3).collect() == [[0, 1], [2, 3], [4]]


async def test_take_while_drops_the_first_that_fails_the_test_and_ends() -> None:
    seen: list[int] = []
    stream = Stream([1, 2, 9, 1, 2]).tap(seen.append).take_while(lambda n: n < 5)
    probe = Probe[int]()
    await Pipeline("p", stream.to(probe), chunk=1).run()
    assert probe.events == [1, 2]
    assert seen == [1, 2, 9]


async def test_one_branch_that_takes_does_not_end_the_other() -> None:
    shared = Stream(range(5000))
    short, long = Probe[int]("short"), Probe[int]("long")
    await Pipeline("p", shared.take(2).to(short), shared.to(long), capacity=4).run()
    assert short.events == [0, 1]
    assert long.events == list(range(5000))


async def test_skip_more_than_there_is() -> None:
    assert await Stream(range(3)).skip(5).collect() == []
    assert await Stream(range(3)).skip(0).collect() == [0, 1, 2]


async def test_skip_while_asks_no_more_after_the_first_false() -> None:
    asked: list[int] = []

    def small(n: int) -> bool:
        asked.append(n)
        return n < 3

    assert await Stream([1, 5, 1, 1]).skip_while(small).collect() == [5, 1, 1]
    assert asked == [1, 5]


async def test_distinct_by_value_and_by_key() -> None:
    assert await Stream([1, 2, 1, 3, 2]).distinct().collect() == [1, 2, 3]
    assert await Stream(["a", "B", "A", "b"]).distinct(str.lower).collect() == ["a", "B"]


async def test_distinct_forgets_the_oldest_beyond_last() -> None:
    assert await Stream([1, 2, 3, 1, 3]).distinct(last=2).collect() == [1, 2, 3, 1]


async def test_none_is_an_event_like_any_other() -> None:
    assert await Stream([None, None, 1, None]).distinct().collect() == [None, 1]
    assert await Stream([None, None]).pairwise().collect() == [(None, None)]
    assert await Stream([None, 1]).key_by(lambda n: None).reduce(lambda a, b: b).collect() == [
        (None, None),
        (None, 1),
    ]
    assert await Stream([None]).last() is None
    assert await Stream([None, 2]).batch(2).collect() == [[None, 2]]
    assert await Stream([0, None]).flat_map(lambda n: [n]).map(lambda n: n).collect() == [0, None]
    assert await Stream([0, 1]).scan(lambda state, n: None, 5).collect() == [None, None]


async def test_events_may_have_any_equality() -> None:
    class Odd:
        """Equal to everything, hashable by nobody."""

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    odd = [Odd(), Odd(), Odd()]
    events = (
        await Stream(odd)
        .map(lambda e: e)
        .filter(lambda e: True)
        .pairwise()
        .flat_map(list)
        .buffer(2)
        .collect()
    )
    assert [id(event) for event in events] == [id(odd[0]), id(odd[1]), id(odd[1]), id(odd[2])]
    assert len(await Stream(odd).batch(2, max_wait=60).collect()) == 2


async def test_scan_starts_anew_with_each_run() -> None:
    stream = Stream([1, 2]).scan(lambda state, n: [*state, n], factory=list)
    assert await stream.collect() == await stream.collect() == [[1], [1, 2]]


async def test_keyed_states_start_anew_for_each_key() -> None:
    def append(state: list[int], n: int) -> list[int]:
        state.append(n)
        return state

    stream = Stream([1, 2, 3]).key_by(lambda n: n % 2).scan(append, factory=list)
    assert (await stream.collect())[-1] == (1, [1, 3])
    assert (await stream.collect())[-1] == (1, [1, 3])


async def test_enumerate_counts_over_chunks() -> None:
    assert await Stream(range(3000)).enumerate().filter(lambda pair: pair[0] != pair[1]).collect() == []


async def test_flat_map_reads_a_lazy_iterable_bit_by_bit() -> None:
    given: list[int] = []

    def lazy(n: int) -> Iterator[int]:
        for i in range(1_000_000):
            given.append(i)
            yield i

    async with Stream([1]).flat_map(lazy).open(capacity=16) as events:
        assert await anext(events) == 0
    assert len(given) < 50_000


async def test_async_flat_map_reads_a_lazy_iterable_bit_by_bit() -> None:
    given: list[int] = []

    def lazy() -> Iterator[int]:
        for i in range(1_000_000):
            given.append(i)
            yield i

    async def later(n: int) -> Iterator[int]:
        await checkpoint()
        return lazy()

    async with Stream([1]).flat_map(later).open(capacity=16) as events:
        assert await anext(events) == 0
    assert len(given) < 50_000


@pytest.mark.parametrize("result", ["text", b"bytes", 5, None])
async def test_flat_map_needs_an_iterable_that_is_no_text(result: object) -> None:
    with pytest.raises(TypeError) as failure:
        await Stream([1]).flat_map(lambda n: result, name="parts").collect()  # type: ignore[arg-type, return-value]
    assert "operator parts, event 1" in failure.value.__notes__[0]


async def test_of_type_takes_subclasses_and_several_types() -> None:
    events = [1, "a", True, 2.5, None]
    assert await Stream(events).of_type(int).collect() == [1, True]
    assert await Stream(events).of_type(str, float).collect() == ["a", 2.5]
