"""What a failing function means, for every operator that calls one: Fail, Skip, DeadLetters, Fallback."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    ArgumentError,
    DeadLetter,
    DeadLetters,
    Fail,
    Fallback,
    OnError,
    Pipeline,
    RateLimit,
    Skip,
    Stream,
)
from tests.engine.scripted import Probe

pytestmark = pytest.mark.anyio


class Unlucky(Exception):
    """Raised for the event 2."""


def fails_at_2(n: int) -> int:
    if n == 2:
        raise Unlucky("two")
    return n


async def fails_at_2_later(n: int) -> int:
    await checkpoint()
    return fails_at_2(n)


def one_item(n: int) -> list[int]:
    return [fails_at_2(n)]


async def one_item_later(n: int) -> list[int]:
    await checkpoint()
    return [fails_at_2(n)]


def items_then_failure(n: int) -> Any:
    yield n * 10
    fails_at_2(n)


def total(a: int, b: int) -> int:
    return a + fails_at_2(b)


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[Stream[int], OnError], Stream[Any]]
    skipped: list[Any]
    """What (1, 2, 3) becomes where the failure of 2 is skipped."""
    fallback: Any
    """What the fallback returns for 2."""
    replaced: list[Any]
    """What (1, 2, 3) becomes with that."""
    sorted: bool = False
    """True when the order of what comes out isn't determined."""

    def seen(self, events: list[Any]) -> list[Any]:
        """The events, in an order that can be compared."""
        return sorted(events) if self.sorted else events

    def __str__(self) -> str:
        return self.name


CASES = [
    Case("map", lambda s, e: s.map(fails_at_2, on_error=e), [1, 3], 0, [1, 0, 3]),
    Case("map async", lambda s, e: s.map(fails_at_2_later, on_error=e), [1, 3], 0, [1, 0, 3]),
    Case("map pool", lambda s, e: s.map(fails_at_2_later, concurrency=3, on_error=e), [1, 3], 0, [1, 0, 3]),
    Case(
        "map keyed",
        lambda s, e: s.map(fails_at_2_later, concurrency=3, key=lambda n: 0, on_error=e),
        [1, 3],
        0,
        [1, 0, 3],
    ),
    Case("map threads", lambda s, e: s.map(fails_at_2, threads=2, on_error=e), [1, 3], 0, [1, 0, 3]),
    Case("starmap", lambda s, e: s.map(lambda n: (n,)).starmap(fails_at_2, on_error=e), [1, 3], 0, [1, 0, 3]),
    Case("filter", lambda s, e: s.filter(fails_at_2, on_error=e), [1, 3], True, [1, 2, 3]),
    Case("filter async", lambda s, e: s.filter(fails_at_2_later, on_error=e), [1, 3], True, [1, 2, 3]),
    Case("tap", lambda s, e: s.tap(fails_at_2, on_error=e), [1, 3], None, [1, 2, 3]),
    Case("tap async", lambda s, e: s.tap(fails_at_2_later, on_error=e), [1, 3], None, [1, 2, 3]),
    Case("flat_map", lambda s, e: s.flat_map(one_item, on_error=e), [1, 3], [7, 8], [1, 7, 8, 3]),
    Case("flat_map async", lambda s, e: s.flat_map(one_item_later, on_error=e), [1, 3], [7, 8], [1, 7, 8, 3]),
    Case("scan", lambda s, e: s.scan(total, 0, on_error=e), [1, 4], 10, [1, 10, 13]),
    Case("take_while", lambda s, e: s.take_while(fails_at_2, on_error=e), [1, 3], True, [1, 2, 3]),
    Case(
        "skip_while",
        lambda s, e: s.skip_while(lambda n: fails_at_2(n) == 1, on_error=e),
        [3],
        False,
        [2, 3],
    ),
    Case("distinct", lambda s, e: s.distinct(fails_at_2, on_error=e), [1, 3], 1, [1, 3]),
    Case(
        "keyed reduce",
        lambda s, e: s.key_by(lambda n: 0).reduce(total, on_error=e),
        [(0, 1), (0, 4)],
        9,
        [(0, 1), (0, 9), (0, 12)],
    ),
    Case(
        "keyed scan",
        lambda s, e: s.key_by(lambda n: 0).scan(total, 5, on_error=e),
        [(0, 6), (0, 9)],
        9,
        [(0, 6), (0, 9), (0, 12)],
    ),
    Case(
        "key function",
        lambda s, e: s.key_by(fails_at_2).scan(lambda a, b: b, 0, on_error=e),
        [(1, 1), (3, 3)],
        9,
        [(1, 1), (9, 2), (3, 3)],
    ),
    Case("split", lambda s, e: joined(s.split(fails_at_2, on_error=e)), [1, 3], True, [1, 2, 3], sorted=True),
    Case("route", lambda s, e: routed(s, e), [1, 3], 2, [1, 2, 3], sorted=True),
    Case(
        "batch weight",
        lambda s, e: s.batch(max_weight=1, weight=fails_at_2, on_error=e),
        [[1], [3]],
        1,
        [[1], [2], [3]],
    ),
    Case(
        "timed batch weight",
        lambda s, e: s.batch(max_weight=1, weight=fails_at_2, max_wait=60, on_error=e),
        [[1], [3]],
        1,
        [[1], [2], [3]],
    ),
]


def joined(branches: tuple[Stream[int], Stream[int]]) -> Stream[int]:
    return branches[0].merge(branches[1])


def routed(stream: Stream[int], on_error: OnError) -> Stream[int]:
    routes = stream.route(fails_at_2, "a", on_error=on_error)
    return routes["a"].merge(routes.other)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """What a traceback shows: the error, what caused it, what caused that, ..."""
    while error is not None:
        yield error
        error = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__


every = pytest.mark.parametrize("case", CASES, ids=str)


@every
async def test_fail_raises_what_the_function_raised(case: Case) -> None:
    with pytest.raises(Unlucky, match="two"):
        await case.build(Stream([1, 2, 3]), Fail()).collect()


@every
async def test_fail_gives_on_what_came_before(case: Case) -> None:
    probe = Probe[Any]()
    with pytest.raises(Unlucky):
        await Pipeline("p", case.build(Stream([1, 2, 3]), Fail()).to(probe)).run()
    assert probe.events in ([], case.skipped[:1])


@every
async def test_skip_drops_the_event_and_counts_it(case: Case) -> None:
    probe = Probe[Any]()
    run = await Pipeline("p", case.build(Stream([1, 2, 3]), Skip()).to(probe)).run()
    assert case.seen(probe.events) == case.skipped
    assert [n for s in run.metrics().stages for what, n in s.dropped.items() if "skipped" in what] == [1]


@every
async def test_dead_letters_get_the_event_and_its_error(case: Case) -> None:
    probe, letters = Probe[Any](), list[DeadLetter]()
    stream = case.build(Stream([1, 2, 3]), DeadLetters())
    run = await Pipeline("shop", stream.to(probe), dead_letters=letters.append).run()
    assert case.seen(probe.events) == case.skipped
    (letter,) = letters
    assert letter.pipeline == "shop"
    assert letter.event in (2, (2,))
    assert letter.origin == 2
    assert letter.attempts == 1
    assert isinstance(letter.exception, Unlucky)
    assert letter.error == "Unlucky: two"
    assert [n for s in run.metrics().stages for what, n in s.dropped.items() if "dead letters" in what] == [1]


@every
async def test_fallback_gives_the_result_instead(case: Case) -> None:
    given: list[Any] = []

    def fallback(event: Any) -> Any:
        given.append(event)
        return case.fallback

    events = await case.build(Stream([1, 2, 3]), Fallback(fallback)).collect()
    assert case.seen(events) == case.replaced
    assert given in ([2], [(2,)])


@every
async def test_a_fallback_that_raises_fails_the_run_and_shows_both(case: Case) -> None:
    def fallback(event: Any) -> Any:
        raise LookupError("no fallback either")

    with pytest.raises(LookupError, match="no fallback either") as failure:
        await case.build(Stream([1, 2, 3]), Fallback(fallback)).collect()
    assert any(isinstance(error, Unlucky) for error in chain(failure.value))


@every
async def test_in_chunks_and_channels_of_one(case: Case) -> None:
    probe = Probe[Any]()
    stream = case.build(Stream([1, 2, 3]), Skip())
    await Pipeline("p", stream.to(probe), capacity=1, chunk=1).run()
    assert sorted(probe.events) == sorted(case.skipped)


async def test_an_iterable_that_fails_in_its_middle_keeps_what_it_gave() -> None:
    stream = Stream([1, 2, 3]).flat_map(items_then_failure, on_error=Skip())
    assert await stream.collect() == [10, 20, 30]


async def test_an_iterable_that_fails_in_its_middle_goes_on_with_the_fallback() -> None:
    stream = Stream([1, 2, 3]).flat_map(items_then_failure, on_error=Fallback(lambda n: [7, 8]))
    assert await stream.collect() == [10, 20, 7, 8, 30]


async def test_async_iterable_that_fails_in_its_middle_goes_on_with_the_fallback() -> None:
    async def later(n: int) -> Any:
        await checkpoint()
        return items_then_failure(n)

    stream = Stream([1, 2, 3]).flat_map(later, on_error=Fallback(lambda n: [7, 8]))
    assert await stream.collect() == [10, 20, 7, 8, 30]


async def test_scan_keeps_its_state_over_a_failure() -> None:
    assert await Stream([1, 2, 3, 4]).scan(total, 0, on_error=Skip()).collect() == [1, 4, 8]


async def test_skips_are_counted_under_the_operators_name() -> None:
    stream = Stream([1, 2, 3]).map(fails_at_2, on_error=Skip(), name="lucky ones")
    run = await Pipeline("p", stream.discard()).run()
    assert run.metrics()["lucky ones"].dropped == {"lucky ones: skipped": 1}


async def test_fallbacks_are_counted() -> None:
    stream = Stream([1, 2, 3]).map(fails_at_2, on_error=Fallback(abs), name="m")
    run = await Pipeline("p", stream.discard()).run()
    assert run.metrics()["m"].dropped == {"m: fallback": 1}


async def test_no_policy_is_for_base_exceptions() -> None:
    class Stop(BaseException):
        pass

    def stop(n: int) -> int:
        raise Stop

    with pytest.raises((Stop, BaseExceptionGroup)):
        await Stream([1]).map(stop, on_error=Skip()).collect()


async def test_thousand_failures_in_a_row_are_all_letters_in_order() -> None:
    letters: list[DeadLetter] = []

    def never(n: int) -> int:
        raise Unlucky(n)

    await Pipeline(
        "p", Stream(range(1000)).map(never, on_error=DeadLetters()).discard(), dead_letters=letters.append
    ).run()
    assert [letter.event for letter in letters] == list(range(1000))
    assert len({letter.id for letter in letters}) == 1000


async def test_split_by_type_fails_at_an_event_of_none_of_the_types() -> None:
    numbers, texts = Stream([1, "a", 2.5]).split_by_type(int, str)
    with pytest.raises(
        TypeError, match=r"split_by_type\(int, str\): a float is none of these; add it, or object"
    ):
        await Pipeline("p", numbers.discard(), texts.discard()).run()


LIMITED: list[Callable[[Stream[int], OnError], Stream[int]]] = [
    lambda s, e: s.rate_limit(RateLimit(1000, burst=1000), key=fails_at_2, on_error=e, name="limit"),
    lambda s, e: s.rate_limit(RateLimit(1000, burst=1000), cost=fails_at_2, on_error=e, name="limit"),
    lambda s, e: s.rate_limit(
        RateLimit(lambda key: fails_at_2(key) * 1000), key=lambda n: n, on_error=e, name="limit"
    ),
]


@pytest.mark.parametrize("limited", LIMITED, ids=["key", "cost", "rate"])
async def test_a_rate_limit_whose_function_fails(
    limited: Callable[[Stream[int], OnError], Stream[int]],
) -> None:
    probe, letters = Probe[int](), list[DeadLetter]()
    stream = limited(Stream([1, 2, 3]), DeadLetters())
    await Pipeline("p", stream.to(probe), dead_letters=letters.append).run()
    assert (probe.events, [letter.event for letter in letters]) == ([1, 3], [2])
    run = await Pipeline("p", limited(Stream([1, 2, 3]), Skip()).discard()).run()
    assert run.metrics()["limit"].dropped == {"limit: skipped": 1}
    with pytest.raises(Unlucky) as failure:
        await limited(Stream([1, 2, 3]), Fail()).collect()
    assert "operator limit, event 2" in failure.value.__notes__[0]


async def test_a_policy_goes_with_a_function_that_can_fail() -> None:
    with pytest.raises(ArgumentError, match=r"batch\(on_error=\): only weight= could fail"):
        Stream([1]).batch(2, on_error=Skip())
    with pytest.raises(ArgumentError, match=r"rate_limit\(on_error=\): only key= and cost= could fail"):
        Stream([1]).rate_limit(RateLimit(1), on_error=Skip())
    with pytest.raises(ArgumentError, match="nothing can stand in for a key and a cost"):
        Stream([1]).rate_limit(RateLimit(1), key=abs, on_error=Fallback(abs))


async def test_unhashable_keys_fail_by_name() -> None:
    with pytest.raises(TypeError, match="unhashable") as failure:
        await Stream([[1]]).distinct(name="once").collect()
    assert "operator once, event [1]" in failure.value.__notes__[0]
