"""What comes out of chains of operators, against aiostream's: the same values in the same order.

aiostream's own pipe operators inside a stream, and streams inside aiostream's, are in tests/interop.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any, NamedTuple

import anyio
import pytest
from aiostream import pipe, stream
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from reactor import RateLimit, Stream
from reactor.testing import run_virtual
from tests.engine.graphs import TIME, examples

pytestmark = TIME


class Step(NamedTuple):
    """One operator in both vocabularies. Events are ints before it and behind it."""

    name: str
    ours: Callable[[Stream[int]], Stream[int]]
    theirs: Callable[[Any], Any]

    def __repr__(self) -> str:
        return self.name


def odd(n: int) -> bool:
    return n % 2 == 1


def small(n: int) -> bool:
    return n % 7 != 6


def both(pair: tuple[int, int]) -> int:
    return 10 * pair[0] + pair[1]


def times(n: int) -> list[int]:
    return [n] * (n % 4)


async def later(n: int) -> int:
    for _ in range(n % 3):
        await checkpoint()
    return n + 1


def steps_with(n: int, others: list[int]) -> list[Step]:
    """Return every operator that both have, with a number or a list as its argument."""
    other = stream.iterate(others)
    return [
        Step("map", lambda s: s.map(lambda x: 2 * x + 1), pipe.map(lambda x: 2 * x + 1)),
        Step("filter", lambda s: s.filter(odd), pipe.filter(odd)),
        Step("take_while", lambda s: s.take_while(small), pipe.takewhile(small)),
        Step("skip_while", lambda s: s.skip_while(small), pipe.dropwhile(small)),
        Step("scan", lambda s: s.scan(add, 0), pipe.accumulate(add)),
        Step("scan from 3", lambda s: s.scan(add, 3), lambda s: s | pipe.accumulate(add, 3) | pipe.skip(1)),
        Step("pairwise", lambda s: s.pairwise().map(both), lambda s: stream.zip(s, s | pipe.skip(1)) | MAP),
        Step("flat_map", lambda s: s.flat_map(times), pipe.concatmap(lambda x: stream.iterate(times(x)))),
        Step("map async", lambda s: s.map(later), pipe.map(later)),
        Step(f"take {n}", lambda s: s.take(n), pipe.take(n)),
        Step(f"skip {n}", lambda s: s.skip(n), pipe.skip(n)),
        Step(f"enumerate {n}", lambda s: s.enumerate(n).map(both), lambda s: s | pipe.enumerate(n) | MAP),
        Step(f"batch {n + 1}", lambda s: s.batch(n + 1).map(sum), lambda s: s | pipe.chunks(n + 1) | SUM),
        Step(
            f"map async, {n + 1} at a time",
            lambda s: s.map(later, concurrency=n + 1),
            pipe.map(later, task_limit=n + 1),
        ),
        Step(
            f"zip {others}", lambda s: s.zip(Stream(others)).map(both), lambda s: stream.zip(s, other) | MAP
        ),
        Step(
            f"starmap {others}",
            lambda s: s.zip(Stream(others)).starmap(add),
            lambda s: stream.zip(s, other) | pipe.starmap(add),
        ),
        Step(f"concat {others}", lambda s: s.concat(Stream(others)), pipe.chain(other)),
    ]


MAP = pipe.map(both)
SUM = pipe.map(lambda batch: sum(batch))

lists = st.lists(st.integers(0, 20), max_size=12)


@st.composite
def step(draw: st.DrawFn) -> Step:
    return draw(st.sampled_from(steps_with(draw(st.integers(0, 6)), draw(lists))))


def applied(source: list[int], steps: list[Step]) -> tuple[Stream[int], Any]:
    ours, theirs = Stream(source), stream.iterate(source)
    for each in steps:
        ours, theirs = each.ours(ours), each.theirs(theirs)
    return ours, theirs


@examples(2)
@given(lists, st.lists(step(), max_size=5))
def test_a_chain_of_operators(source: list[int], steps: list[Step]) -> None:
    async def main() -> tuple[list[int], list[int]]:
        ours, theirs = applied(source, steps)
        return await ours.collect(), await stream.list(theirs)

    ours, theirs = anyio.run(main)
    assert ours == theirs


@examples()
@given(lists, st.lists(step(), max_size=3))
def test_what_becomes_of_all_events(source: list[int], steps: list[Step]) -> None:
    """collect, count, last and fold; aiostream ends each with an IndexError where there is no event."""

    async def main() -> None:
        ours, theirs = applied(source, steps)
        events = await stream.list(theirs)
        assert await ours.count() == len(events)
        assert await ours.last(None) == (await theirs if events else None)
        assert await ours.first(None) == (await theirs[0] if events else None)
        assert await ours.fold(add, 0) == (await stream.reduce(theirs, add, 0))

    anyio.run(main)


@examples()
@given(st.lists(st.tuples(lists, st.lists(step(), max_size=2)), min_size=2, max_size=4))
def test_merge_as_a_multiset(inputs: list[tuple[list[int], list[Step]]]) -> None:
    async def main() -> tuple[list[int], list[int]]:
        pairs = [applied(source, steps) for source, steps in inputs]
        (ours, *ours_too), theirs = [o for o, _ in pairs], [t for _, t in pairs]
        return await ours.merge(*ours_too).collect(), await stream.list(stream.merge(*theirs))

    ours, theirs = anyio.run(main)
    assert sorted(ours) == sorted(theirs)


@examples()
@given(lists, st.integers(1, 4))
def test_calls_side_by_side_as_a_multiset(source: list[int], most: int) -> None:
    """The results of an unordered map, and of sequences read side by side."""

    async def main() -> None:
        mapped = Stream(source).map(later, concurrency=most, ordered=False)
        xs = stream.iterate(source)
        theirs = await stream.list(stream.map(xs, later, ordered=False, task_limit=most))
        assert sorted(await mapped.collect()) == sorted(theirs)

        async def sequence(n: int) -> Any:
            for x in times(n):
                await checkpoint()
                yield x

        flat = Stream(source).flat_map(sequence, concurrency=most, ordered=False)
        theirs = await stream.list(stream.flatmap(xs, sequence, task_limit=most))
        assert sorted(await flat.collect()) == sorted(theirs)

    anyio.run(main)


# In virtual time, which aiostream keeps without knowing: it sleeps as asyncio does. --------------------------


async def moments(events: Any) -> list[tuple[float, Any]]:
    began = anyio.current_time()
    return [(round(anyio.current_time() - began, 6), event) async for event in events]


def timed(theirs: Any, ours: Stream[Any]) -> tuple[list[tuple[float, Any]], list[tuple[float, Any]]]:
    async def main() -> tuple[list[tuple[float, Any]], list[tuple[float, Any]]]:
        async with theirs.stream() as events:
            found = await moments(events)
        async with ours.open() as events:
            return await moments(events), found

    return run_virtual(main).result


@pytest.mark.parametrize("ordered", [True, False])
@examples(0.5)
@given(st.lists(st.integers(0, 5), max_size=10), st.integers(1, 4))
def test_calls_end_when_they_end(ordered: bool, source: list[int], most: int) -> None:
    """How long each call takes is drawn; so many are under way. The order within one moment isn't compared."""

    async def call(item: tuple[int, int]) -> int:
        n, seconds = item
        await anyio.sleep(seconds + n / 1000)
        return n

    items = list(enumerate(source))
    theirs = stream.map(stream.iterate(items), call, ordered=ordered, task_limit=most)
    ours, found = timed(theirs, Stream(items).map(call, concurrency=most, ordered=ordered))
    assert sorted(ours) == sorted(found)
    assert not ordered or [n for _, n in ours] == list(range(len(items)))


@examples(0.5)
@given(lists, st.integers(1, 5))
def test_rate_limit_of_one_is_spaceout(source: list[int], seconds: int) -> None:
    theirs = stream.spaceout(stream.iterate(source), seconds)
    ours, found = timed(theirs, Stream(source).rate_limit(RateLimit(1, per=seconds, burst=1)))
    assert ours == found
