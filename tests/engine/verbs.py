"""The operators of random graphs: what a plan's names stand for, with functions that are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from reactor import DeadLetters, Fail, Fallback, RateLimit, Retry, Skip, Stream
from tests.engine.graphs import PATIENCE, Op, number

if TYPE_CHECKING:
    from tests.engine.worlds import World


def function(op: Op, world: World, result: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function of an operator: sync; or async, and watched for how many are in flight."""

    def sync(event: Any) -> Any:
        if op.fails is not None:
            op.fails.check(event)
        return result(event)

    if op.pool is None:

        def called(event: Any) -> Any:
            world.tick(op)
            return sync(event)

        world.stands_in[called] = sync
        return called
    pool = op.pool
    started, done = 0, set[int]()
    turn = 0

    async def watched(event: Any) -> Any:
        nonlocal started, turn
        mine = started
        started += 1
        waiting = started - (turn if pool.order == "input" else len(done))
        if waiting > pool.concurrency and op.calls == 1:  # a retry is a second call for one event
            world.wrong.append(f"{op.verb}: {waiting} in flight or waiting, concurrency={pool.concurrency}")
        try:
            world.tick(op)
            for _ in range(pool.waits[number(event) % len(pool.waits)]):
                await anyio.lowlevel.checkpoint()
            return sync(event)
        finally:
            done.add(mine)
            while turn in done:
                turn += 1

    world.stands_in[watched] = sync
    return watched


def _key(event: Any) -> int:
    return number(event) % 3


def keywords(op: Op, fallback: Callable[[Any], Any]) -> dict[str, Any]:
    how: dict[str, Any] = {}
    if op.policy != "fail" or op.fails is not None:
        how["on_error"] = {
            "fail": Fail(),
            "skip": Skip(),
            "letters": DeadLetters(),
            "fallback": Fallback(fallback),
        }[op.policy]
    if op.calls > 1:
        how["retry"] = Retry(op.calls, initial=0)
    if op.pool is not None:
        how["concurrency"] = op.pool.concurrency
        if op.pool.timeout:
            how["timeout"] = PATIENCE
        if op.pool.order == "key":
            how["key"] = _key
        else:
            how["ordered"] = op.pool.order == "input"
    return how


def apply(stream: Stream[Any], op: Op, world: World) -> Stream[Any]:
    a, b = op.a, op.b
    match op.verb:
        case "map":
            fn = function(op, world, lambda event: number(event) + a)
            return stream.map(fn, **keywords(op, lambda event: number(event) + 500_000))
        case "filter":
            fn = function(op, world, lambda event: number(event) % (a + 1) != b)
            return stream.filter(fn, **keywords(op, lambda event: number(event) % 2))
        case "flat_map":
            fn = function(
                op, world, lambda event: [number(event) + n for n in range(number(event) % (a + 1))]
            )
            return stream.flat_map(fn, **keywords(op, lambda event: [number(event) + 600_000, 1]))
        case "tap":
            return stream.tap(function(op, world, lambda event: None), **keywords(op, lambda event: None))
        case "starmap":
            called = function(op, world, lambda event: event[0] + event[1])
            fn = _starred_async(called) if op.pool else _starred(called)
            world.stands_in[fn] = _starred(world.stands_in[called])
            pairs = stream.map(lambda event: (number(event), a))
            return pairs.starmap(fn, **keywords(op, lambda pair: pair[0] + 700_000))
        case "of_type":
            return stream.map(lambda event: number(event) if number(event) % 3 else str(event)).of_type(int)
        case "buffer":
            return stream.buffer(a)
        case "rate_limit":
            return stream.rate_limit(RateLimit(20_000, burst=a))
        case "limit_by_key":
            return stream.rate_limit(RateLimit(20_000, burst=a), key=_key, waiting=a)
        case "timed":
            return stream.batch(a, max_wait=0.001 * b + 0.0005).flat_map(lambda events: list(events))
        case "scan":
            fn = _pair_function(op, world)
            return stream.scan(fn, 1, volatile=True, **keywords(op, number))
        case "take":
            return stream.take(a * 3 + b - 3, volatile=True)
        case "take_while":
            fn = function(op, world, lambda event: number(event) % 17 != b + 5)
            return stream.take_while(fn, volatile=True, **keywords(op, lambda event: True))
        case "skip":
            return stream.skip(a * b, volatile=True)
        case "skip_while":
            fn = function(op, world, lambda event: number(event) % 5 < a)
            return stream.skip_while(fn, volatile=True, **keywords(op, lambda event: True))
        case "distinct":
            fn = function(op, world, lambda event: number(event) % (a * 5))
            return stream.distinct(fn, last=b or None, volatile=True, **keywords(op, number))
        case "enumerate":
            return stream.enumerate(b, volatile=True)
        case "pairwise":
            return stream.pairwise(volatile=True)
        case "same":
            return stream.filter(lambda event: True)
        case "again":
            return stream.batch(a).flat_map(lambda events: list(events))
        case "batch":
            return stream.batch(a)
        case "weighed":
            return stream.batch(b or None, max_weight=a * 3, weight=lambda event: number(event) % 5)
        case "reduce":
            fn = _pair_function(op, world)
            return stream.map(number).key_by(_key).reduce(fn, volatile=True, **keywords(op, number))
        case "keyed":
            fn = _pair_function(op, world)
            return stream.key_by(_key).scan(fn, factory=int, volatile=True, **keywords(op, number))
    raise AssertionError(op.verb)


def _pair_function(op: Op, world: World) -> Callable[[Any, Any], Any]:
    def step(state: Any, event: Any) -> Any:
        world.tick(op)
        return pure(state, event)

    def pure(state: Any, event: Any) -> Any:
        if op.fails is not None:
            op.fails.check(event)
        return (state * 3 + number(event)) % 10_007

    world.stands_in[step] = pure
    return step


def _starred(fn: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *pair: fn(pair)


def _starred_async(fn: Callable[[Any], Any]) -> Callable[..., Any]:
    async def starred(*pair: Any) -> Any:
        return await fn(pair)

    return starred


def parts(stream: Stream[Any], kind: str, op: Op, world: World) -> list[Stream[Any]]:
    if kind == "share":
        return [stream, stream]
    if kind == "split":
        fn = function(op, world, lambda event: number(event) % (op.a + 1) == op.b)
        return list(stream.split(fn, **keywords(op, lambda event: True)))
    fn = function(op, world, lambda event: "abcdef"[number(event) % (op.a + 1)])
    routes = stream.route(fn, "a", "b", **keywords(op, lambda event: "b"))
    return [routes["a"], routes["b"], routes.other]
