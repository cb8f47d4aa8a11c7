"""An error budget: DeadLetters(limit=...) stops a pipeline in which too much fails, once that is stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    ArgumentError,
    DeadLetter,
    DeadLetters,
    Limit,
    Pipeline,
    Retry,
    Sink,
    StoredLetter,
    Stream,
    TooManyDeadLetters,
    dead_letters,
    topic,
)
from reactor.testing import virtual_backend

pytestmark = pytest.mark.anyio


def fails(event: Any) -> Any:
    raise ValueError(f"{event} is bad")


def odd_fails(n: int) -> int:
    return fails(n) if n % 2 else n


async def odd_fails_later(n: int) -> int:
    await checkpoint()
    return odd_fails(n)


async def wrapped(n: int) -> list[int]:
    await checkpoint()
    return [odd_fails(n)]


class Refuses(Sink[int]):
    async def write(self, events: Sequence[int]) -> None:
        for event in events:
            odd_fails(event)


PLACES: dict[str, Any] = {
    "map": lambda s, how: s.map(odd_fails, on_error=how, name="op").discard(),
    "async map": lambda s, how: s.map(odd_fails_later, concurrency=2, on_error=how, name="op").discard(),
    "unordered": lambda s, how: s.map(
        odd_fails_later, concurrency=2, ordered=False, on_error=how, name="op"
    ).discard(),
    "retried": lambda s, how: s.map(
        odd_fails_later, concurrency=2, retry=Retry(2, initial=0), on_error=how, name="op"
    ).discard(),
    "filter": lambda s, how: s.filter(odd_fails, on_error=how, name="op").discard(),
    "scan": lambda s, how: s.scan(
        lambda _, n: odd_fails(n), 0, on_error=how, name="op", volatile=True
    ).discard(),
    "flat_map": lambda s, how: s.flat_map(wrapped, on_error=how, name="op").discard(),
    "sink": lambda s, how: s.to(Refuses(), on_error=how, name="op"),
    "function": lambda s, how: s.to(odd_fails_later, on_error=how, name="op"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", ["function", "async function", "sink"])
async def test_one_more_than_the_limit_stops_it_and_all_that_failed_is_stored(
    place: str, target: str
) -> None:
    stored: list[DeadLetter] = []

    async def store(letter: DeadLetter) -> None:
        await checkpoint()
        stored.append(letter)

    class Store(Sink[DeadLetter]):
        async def write(self, events: Sequence[DeadLetter]) -> None:
            await checkpoint()
            stored.extend(events)

    where: Any = {"function": stored.append, "async function": store, "sink": Store()}[target]
    ending = PLACES[place](Stream(range(1000)), DeadLetters(limit=3))
    with pytest.raises(TooManyDeadLetters) as caught:
        await Pipeline("shop", ending, dead_letters=where).run()
    assert "4 events have failed; DeadLetters(limit=Limit(count=3)) doesn't allow that" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "in pipeline 'shop', operator op" in caught.value.__notes__[0]
    events = sorted(letter.event for letter in stored)
    assert events[:4] == [1, 3, 5, 7]
    assert len(set(events)) == len(events)
    assert len(events) <= 6  # with two calls at once, others may have failed beside the one that was too many


@pytest.mark.parametrize("place", PLACES)
async def test_as_much_as_the_limit_is_fine(place: str) -> None:
    stored: list[DeadLetter] = []
    ending = PLACES[place](Stream(range(1000)), DeadLetters(limit=500))
    await Pipeline("shop", ending, dead_letters=stored.append).run()
    assert len(stored) == 500


async def test_a_limit_of_none_at_all_stores_the_first() -> None:
    stored: list[DeadLetter] = []
    with pytest.raises(TooManyDeadLetters, match="1 event has failed"):
        await Pipeline(
            "shop",
            Stream([1, 2]).map(fails, on_error=DeadLetters(limit=0)).discard(),
            dead_letters=stored.append,
        ).run()
    assert [letter.event for letter in stored] == [1]


async def test_each_operator_has_its_own_budget() -> None:
    stored: list[DeadLetter] = []
    stream = Stream(range(20)).map(odd_fails, on_error=DeadLetters(limit=10))
    stream = stream.map(lambda n: 1 / (n % 4), on_error=DeadLetters(limit=5)).map(int)
    await Pipeline("shop", stream.discard(), dead_letters=stored.append).run()
    assert len(stored) == 15


async def test_a_share_is_that_of_what_the_sources_have_read() -> None:
    async def one(share: float) -> int:
        stored: list[DeadLetter] = []
        stream = Stream(range(2000)).map(lambda n: 1 / (n % 20), on_error=DeadLetters(limit=share))
        await Pipeline("shop", stream.discard(), dead_letters=stored.append, chunk=10).run()
        return len(stored)

    assert await one(0.06) == 100
    with pytest.raises(TooManyDeadLetters, match=r"5 of \d+ events have failed; .*share=0.04"):
        await one(0.04)


async def test_a_share_counts_the_first_events_as_a_hundred() -> None:
    stored: list[DeadLetter] = []
    stream = Stream(range(5)).map(fails, on_error=DeadLetters(limit=0.05))
    await Pipeline("shop", stream.discard(), dead_letters=stored.append).run()
    assert len(stored) == 5
    with pytest.raises(TooManyDeadLetters, match="6 of 6 events have failed"):
        stream = Stream(range(6)).map(fails, on_error=DeadLetters(limit=0.05))
        await Pipeline("shop", stream.discard(), dead_letters=stored.append).run()
    with pytest.raises(TooManyDeadLetters, match="2 of 2 events have failed"):
        stream = Stream(range(2)).map(fails, on_error=DeadLetters(limit=Limit(share=0.5, least=2)))
        await Pipeline("shop", stream.discard(), dead_letters=stored.append).run()


async def test_what_is_lost_with_another_stage_is_stored_too() -> None:
    """One branch fails the run while the letters of the other one are still being written."""
    stored: list[Any] = []
    slow = anyio.Event()

    async def store(letter: DeadLetter) -> None:
        if letter.operator == "slow":
            slow.set()
            await checkpoint()
            await checkpoint()
        stored.append((letter.operator, letter.event))

    async def waits(n: int) -> None:
        await slow.wait()
        fails(n)

    shared = Stream([1])
    left = shared.map(fails, on_error=DeadLetters(), name="slow").discard()
    right = shared.map(waits, on_error=DeadLetters(limit=0), name="strict").discard()
    with pytest.raises(TooManyDeadLetters):
        await Pipeline("shop", left, right, dead_letters=store).run()
    assert set(stored) == {("slow", 1), ("strict", 1)}


async def test_letters_that_cannot_be_stored_are_told_beside_it() -> None:
    async def full(letter: DeadLetter) -> None:
        raise OSError("no space")

    with pytest.raises((ExceptionGroup, OSError)) as caught:
        stream = Stream([1]).map(odd_fails_later, on_error=DeadLetters(limit=0))
        await Pipeline("shop", stream.discard(), dead_letters=full).run()
    assert "no space" in repr(caught.value)


async def test_started_again_it_has_nothing_twice_and_goes_on_once_it_is_mended(tmp_path: Path) -> None:
    numbers = topic(f"sqlite:{tmp_path}/shop.db/numbers", int)
    dead = topic(f"sqlite:{tmp_path}/shop.db/dead", StoredLetter)
    await numbers.publish([0, 1, 3, 5, 6])
    done: list[int] = []

    async def run(fn: Any) -> None:
        stream = numbers.subscribe("shop", follow=False).map(fn, on_error=DeadLetters(limit=1), name="op")
        await Pipeline("shop", stream.to(done.append), dead_letters=dead).run()

    for _ in range(2):
        with pytest.raises(TooManyDeadLetters):
            await run(odd_fails)
    letters = [letter.stored.event async for letter in dead_letters(dead).list()]
    assert letters == [1, 3]
    await run(lambda n: n)
    assert done[-5:] == [0, 1, 3, 5, 6]


class TestInVirtualTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        return virtual_backend(request.param)

    async def test_so_many_within_so_many_seconds(self) -> None:
        """One each 10 s: three never stand within 19 s, but within 20 s."""

        async def ticks() -> Any:
            for n in range(10):
                yield n
                await anyio.sleep(10)

        stored: list[DeadLetter] = []

        async def one(within: float) -> None:
            stored.clear()
            stream = Stream(ticks).map(fails, on_error=DeadLetters(limit=Limit(2, within=within)))
            await Pipeline("shop", stream.discard(), dead_letters=stored.append).run()

        await one(19)
        assert len(stored) == 10
        with pytest.raises(TooManyDeadLetters, match="3 events have failed within 20 s"):
            await one(20)
        assert len(stored) == 3


# What can't be a limit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DeadLetters(limit=-1), "count=-1.*>= 0"),
        (lambda: DeadLetters(limit=True), "limit=True"),
        (lambda: DeadLetters(limit="5"), "limit='5'"),  # type: ignore[arg-type]
        (lambda: DeadLetters(limit=1.0), "share=1.0.*between 0 and 1"),
        (lambda: DeadLetters(limit=0.0), "share=0.0.*between 0 and 1"),
        (lambda: DeadLetters(limit=float("nan")), "share=nan"),
        (lambda: Limit(), "give count, or share"),
        (lambda: Limit(3, share=0.5), "give count, or share"),
        (lambda: Limit(3, within=0), "within"),
        (lambda: Limit(share=0.5, within=3), "within goes with count"),
        (lambda: Limit(share=0.5, least=0), "least=0"),
        (lambda: Limit(2.5), "count=2.5"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_a_limit_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()
