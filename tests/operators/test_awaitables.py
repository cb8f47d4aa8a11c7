"""A sync function that returns an awaitable is refused at its first call, wherever a function is taken."""

from collections.abc import Callable
from typing import Any

import pytest

from reactor import ArgumentError, DeadLetters, Pipeline, RateLimit, Skip, Stream
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio

WHERE: dict[str, Callable[[Stream[int], Any], Stream[Any]]] = {
    "map": lambda s, fn: s.map(fn),
    "starmap": lambda s, fn: s.map(lambda n: (n,)).starmap(fn),
    "filter": lambda s, fn: s.filter(fn),
    "tap": lambda s, fn: s.tap(fn),
    "flat_map": lambda s, fn: s.flat_map(fn),
    "scan": lambda s, fn: s.scan(lambda state, n: fn(n), 0),
    "take_while": lambda s, fn: s.take_while(fn),
    "skip_while": lambda s, fn: s.skip_while(fn),
    "distinct": lambda s, fn: s.distinct(fn),
    "key_by": lambda s, fn: s.key_by(fn).reduce(lambda a, b: b),
    "reduce": lambda s, fn: s.key_by(lambda n: 0).reduce(lambda a, b: fn(b)),
    "split": lambda s, fn: joined(s.split(fn)),
    "map(key=)": lambda s, fn: s.map(plus_one, concurrency=2, key=fn),
    "rate_limit(key=)": lambda s, fn: s.rate_limit(RateLimit(1e6), key=fn),
    "rate_limit(cost=)": lambda s, fn: s.rate_limit(RateLimit(1e6), cost=fn),
    "batch(weight=)": lambda s, fn: s.batch(max_weight=5, weight=fn),
    "batch(weight=, max_wait=)": lambda s, fn: s.batch(max_weight=5, weight=fn, max_wait=60),
}


def joined(branches: tuple[Stream[int], Stream[int]]) -> Stream[int]:
    return branches[0].merge(branches[1])


def routed(stream: Stream[int], fn: Any) -> Stream[int]:
    routes = stream.route(fn, "a")
    return routes["a"].merge(routes.other)


WHERE["route"] = routed


@pytest.mark.parametrize("where", WHERE)
async def test_refused_at_the_first_call(where: str) -> None:
    with pytest.raises(ArgumentError, match="awaitable"):
        await WHERE[where](Stream([1, 1, 1]), lambda n: plus_one(n)).collect()


async def test_refused_in_fold() -> None:
    with pytest.raises(ArgumentError, match="awaitable"):
        await Stream([1, 2]).fold(lambda state, n: plus_one(n), 0)


async def test_refused_as_a_sink() -> None:
    with pytest.raises(ArgumentError, match="awaitable"):
        await Pipeline("p", Stream([1, 2]).to(lambda n: plus_one(n))).run()


@pytest.mark.parametrize("policy", [Skip(), DeadLetters()])
async def test_no_policy_applies_to_a_mistake_of_the_program(policy: Any) -> None:
    stream = Stream([1, 2]).map(lambda n: plus_one(n), on_error=policy)
    with pytest.raises(ArgumentError, match="awaitable; pass concurrency="):
        await Pipeline("p", stream.discard(), dead_letters=lambda letter: None).run()


async def test_concurrency_awaits_what_a_lambda_returns() -> None:
    assert await Stream([1, 2]).map(lambda n: plus_one(n), concurrency=1).collect() == [2, 3]


async def test_concurrency_over_a_function_that_returns_no_awaitable_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"map\(negative\): the function returned a int, which can't be awaited"
    ):
        await Stream([1, 2]).map(negative, concurrency=4, on_error=Skip()).collect()


def negative(n: int) -> int:
    return -n
