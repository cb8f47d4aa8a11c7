"""What every operator's stream is inferred to hold. Nothing here runs: the checkers read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from reactor import (
    CircuitBreaker,
    DeadLetters,
    Fallback,
    Inlet,
    Keyed,
    RateLimit,
    Record,
    Restart,
    Retry,
    Routes,
    Skip,
    Source,
    Stream,
)


@dataclass
class Order:
    id: int
    country: str
    total: float


@dataclass
class Cancelled:
    id: int


class Large(Order):
    pass


orders: Stream[Order] = Stream([Order(1, "UK", 2.0)])
mixed: Stream[Order | Cancelled] = Stream([Order(1, "UK", 2.0), Cancelled(2)])


# Sources ----------------------------------------------------------------------------------------------------


def sync_numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> AsyncIterator[int]:
    yield 1


class Numbers(Source[int]):
    async def read(self, limit: int) -> list[Record[int]] | None:
        return None


assert_type(Stream([1]), Stream[int])
assert_type(Stream(range(3)), Stream[int])
assert_type(Stream(["a", "b"]), Stream[str])
assert_type(Stream({"a": 1}), Stream[str])
assert_type(Stream(iter([1.5])), Stream[float])
assert_type(Stream(sync_numbers), Stream[int])
assert_type(Stream(sync_numbers()), Stream[int])
assert_type(Stream(async_numbers), Stream[int])
assert_type(Stream(async_numbers()), Stream[int])
assert_type(Stream(lambda: [1, 2]), Stream[int])
assert_type(Stream(Numbers()), Stream[int])
assert_type(Stream(Inlet[Order]()), Stream[Order])
assert_type(Stream([1]).map(str), Stream[str])


# map and the like -------------------------------------------------------------------------------------------


def total(order: Order) -> float:
    return order.total


async def charge(order: Order) -> str:
    return str(order.id)


async def is_large(order: Order) -> bool:
    return order.total > 5


async def lines(order: Order) -> list[str]:
    return [order.country]


async def parcels(order: Order) -> AsyncIterator[bytes]:
    yield b""


class Charger:
    async def __call__(self, order: Order) -> bytes:
        return b""


assert_type(orders.map(total), Stream[float])
assert_type(orders.map(lambda o: o.total), Stream[float])
assert_type(orders.map(lambda o: (o.country, o.total)), Stream[tuple[str, float]])
assert_type(orders.map(charge), Stream[str])
assert_type(orders.map(Charger()), Stream[bytes])
assert_type(orders.map(charge, concurrency=8), Stream[str])
assert_type(orders.map(charge, concurrency=8, ordered=False, timeout=5, retry=Retry(3)), Stream[str])
assert_type(orders.map(charge, retry=Retry(9), breaker=CircuitBreaker(failures=3)), Stream[str])
assert_type(orders.map(lambda o: charge(o), concurrency=8, key=lambda o: o.country), Stream[str])
assert_type(orders.map(total, threads=4, timeout=timedelta(seconds=1), on_error=Skip()), Stream[float])
assert_type(orders.map(total, processes=2, name="total"), Stream[float])
assert_type(orders.map(total, on_error=Fallback(lambda o: 0.0)), Stream[float])
assert_type(orders.map(total, on_error=DeadLetters()), Stream[float])
assert_type(orders.filter(lambda o: o.total > 5), Stream[Order])
assert_type(orders.filter(is_large, concurrency=3), Stream[Order])
assert_type(orders.tap(print), Stream[Order])
assert_type(orders.tap(charge), Stream[Order])
assert_type(orders.flat_map(lambda o: [o.country]), Stream[str])
assert_type(orders.flat_map(lambda o: range(o.id)), Stream[int])
assert_type(orders.flat_map(lines), Stream[str])
assert_type(orders.flat_map(lines, concurrency=2), Stream[str])
assert_type(orders.flat_map(parcels), Stream[bytes])
assert_type(orders.flat_map(parcels, concurrency=8, ordered=False, on_error=Skip()), Stream[bytes])
assert_type(orders.flat_map(lambda o: parcels(o), concurrency=8), Stream[bytes])
assert_type(orders.flat_map(lambda o: Stream([o.country]), concurrency=8), Stream[str])
assert_type(orders.switch_map(parcels), Stream[bytes])
assert_type(orders.switch_map(lines), Stream[str])
assert_type(orders.switch_map(lambda o: [o.id]), Stream[int])
assert_type(orders.switch_map(lambda o: Stream([o.country]), on_error=Skip()), Stream[str])
assert_type(mixed.of_type(Order), Stream[Order])
assert_type(mixed.of_type(Order, Cancelled), Stream[Order | Cancelled])


def add(a: int, b: int) -> int:
    return a + b


async def add_later(a: int, b: int) -> str:
    return str(a + b)


pairs: Stream[tuple[int, int]] = Stream([(1, 2)])
assert_type(pairs.starmap(add), Stream[int])
assert_type(pairs.starmap(add_later, concurrency=2), Stream[str])


# What remembers ---------------------------------------------------------------------------------------------


def count(state: dict[str, int], order: Order) -> dict[str, int]:
    return state


assert_type(orders.scan(lambda state, o: state + o.total, 0.0), Stream[float])
assert_type(orders.scan(count, factory=dict), Stream[dict[str, int]])
assert_type(orders.take(3), Stream[Order])
assert_type(orders.take_while(lambda o: o.total > 1), Stream[Order])
assert_type(orders.skip(3), Stream[Order])
assert_type(orders.skip_while(lambda o: o.total > 1, volatile=True), Stream[Order])
assert_type(orders.distinct(), Stream[Order])
assert_type(orders.distinct(lambda o: o.id, last=100), Stream[Order])
assert_type(orders.enumerate(), Stream[tuple[int, Order]])
assert_type(orders.pairwise(), Stream[tuple[Order, Order]])


# Keyed ------------------------------------------------------------------------------------------------------


def larger(a: Order, b: Order) -> Order:
    return a


assert_type(orders.key_by(lambda o: o.country), Keyed[str, Order])
assert_type(orders.key_by(lambda o: o.country).reduce(larger), Stream[tuple[str, Order]])
assert_type(orders.key_by(lambda o: o.country).reduce(lambda a, b: a), Stream[tuple[str, Order]])
assert_type(
    orders.key_by(lambda o: o.id).scan(lambda state, o: state + o.total, 0.0), Stream[tuple[int, float]]
)
assert_type(orders.key_by(lambda o: o.id).scan(count, factory=dict), Stream[tuple[int, dict[str, int]]])


# What groups, waits, holds back -----------------------------------------------------------------------------


assert_type(orders.batch(3), Stream[list[Order]])
assert_type(orders.batch(3, max_wait=1.5), Stream[list[Order]])
assert_type(orders.batch(max_weight=3, weight=lambda o: o.total), Stream[list[Order]])
assert_type(orders.rate_limit(RateLimit(5)), Stream[Order])
assert_type(
    orders.rate_limit(RateLimit(lambda key: 5), key=lambda o: o.country, cost=lambda o: o.total),
    Stream[Order],
)
assert_type(orders.throttle(5), Stream[Order])
assert_type(orders.throttle(timedelta(seconds=5), trailing=True, name="first"), Stream[Order])
assert_type(orders.debounce(5), Stream[Order])
assert_type(orders.sample(5), Stream[Order])
assert_type(orders.delay(5, waiting=10), Stream[Order])
assert_type(orders.timeout(5), Stream[Order])
assert_type(orders.timeout(5, fallback=None), Stream[Order | None])
assert_type(orders.conflate(), Stream[Order])
assert_type(
    orders.conflate(lambda so_far, order: order if order.total > so_far.total else so_far), Stream[Order]
)
assert_type(orders.map(total).conflate(lambda a, b: a + b), Stream[float])
assert_type(orders.distinct(lambda o: o.id, ttl=timedelta(minutes=5)), Stream[Order])
assert_type(Stream(Numbers(), restart=Restart(max=3)), Stream[int])
assert_type(Stream(sync_numbers, restart=Restart()), Stream[int])
assert_type(Stream(async_numbers, restart=Restart()), Stream[int])
assert_type(orders.buffer(3), Stream[Order])
assert_type(orders.buffer(3, "drop_oldest"), Stream[Order])


# Several streams --------------------------------------------------------------------------------------------


ints: Stream[int] = Stream([1])
texts: Stream[str] = Stream(["a"])
floats: Stream[float] = Stream([0.5])
raws: Stream[bytes] = Stream([b""])

assert_type(ints.merge(ints), Stream[int])
assert_type(ints.merge(texts), Stream[int | str])
assert_type(ints.merge(texts, raws), Stream[int | str | bytes])
assert_type(ints.merge(texts, raws, orders), Stream[int | str | bytes | Order])
assert_type(ints.concat(ints), Stream[int])
assert_type(ints.concat(texts), Stream[int | str])
assert_type(ints.concat(texts, raws), Stream[int | str | bytes])
assert_type(ints.zip(texts), Stream[tuple[int, str]])
assert_type(ints.zip(texts, raws), Stream[tuple[int, str, bytes]])
assert_type(ints.zip(texts, raws, orders), Stream[tuple[int, str, bytes, Order]])

assert_type(ints.interleave(ints), Stream[int])
assert_type(ints.interleave(texts), Stream[int | str])
assert_type(ints.interleave(texts, raws), Stream[int | str | bytes])
assert_type(ints.interleave(texts, raws, orders), Stream[int | str | bytes | Order])
assert_type(ints.combine_latest(texts), Stream[tuple[int, str]])
assert_type(ints.combine_latest(texts, raws, volatile=True), Stream[tuple[int, str, bytes]])
assert_type(ints.combine_latest(texts, raws, orders), Stream[tuple[int, str, bytes, Order]])
assert_type(ints.with_latest(texts), Stream[tuple[int, str]])
assert_type(ints.with_latest(texts, raws), Stream[tuple[int, str, bytes]])
assert_type(ints.with_latest(texts, raws, orders, name="prices"), Stream[tuple[int, str, bytes, Order]])

many: list[Stream[int]] = [ints, ints]
assert_type(ints.interleave(*many), Stream[int])
assert_type(ints.merge(*many), Stream[int])
assert_type(ints.concat(*many), Stream[int])

assert_type(orders.split(lambda o: o.total > 5), tuple[Stream[Order], Stream[Order]])
assert_type(mixed.split_by_type(Order, Cancelled), tuple[Stream[Order], Stream[Cancelled]])
assert_type(
    mixed.split_by_type(Large, Order, Cancelled), tuple[Stream[Large], Stream[Order], Stream[Cancelled]]
)
assert_type(
    mixed.split_by_type(Large, Order, Cancelled, object),
    tuple[Stream[Large], Stream[Order], Stream[Cancelled], Stream[object]],
)
routes = orders.route(lambda o: o.country, "UK", "FR")
assert_type(routes, Routes[Order])
assert_type(routes["UK"], Stream[Order])
assert_type(routes.other, Stream[Order])


# A stream of something narrower is a stream of something wider ------------------------------------------------


def ids(stream: Stream[Order | Cancelled]) -> Stream[int]:
    return stream.map(lambda event: event.id)


large: Stream[Large] = Stream([Large(1, "UK", 9.0)])
assert_type(ids(large), Stream[int])
assert_type(orders.through(ids), Stream[int])
