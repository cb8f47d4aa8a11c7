"""Flows, sinks, what is awaited in place, pipelines, topics. Nothing here runs: the checkers read it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_type

import reactor
from reactor import (
    DeadLetter,
    Ending,
    Inlet,
    Keyed,
    Metrics,
    Pipeline,
    Run,
    Sink,
    StoredLetter,
    Stream,
    Topic,
    files,
    table,
    topic,
)


@dataclass
class Order:
    id: int
    country: str
    total: float
    placed: datetime


@dataclass
class Cancelled:
    id: int


orders: Stream[Order] = Stream(Inlet[Order]())


# Flows ------------------------------------------------------------------------------------------------------


def above(stream: Stream[Order], least: float, *, strict: bool = False) -> Stream[Order]:
    return stream.filter(lambda o: o.total > least)


def by_country(stream: Stream[Order]) -> Keyed[str, Order]:
    return stream.key_by(lambda o: o.country)


def parted(stream: Stream[Order]) -> tuple[Stream[Order], Stream[Order]]:
    return stream.split(lambda o: o.total > 5)


async def countries(events: AsyncIterable[Order]) -> AsyncIterator[str]:
    async for order in events:
        yield order.country


assert_type(orders.through(above, 5.0), Stream[Order])
assert_type(orders.through(above, 5.0, strict=True), Stream[Order])
assert_type(orders.through(by_country), Keyed[str, Order])
assert_type(orders.through(parted), tuple[Stream[Order], Stream[Order]])
assert_type(orders.through(countries), Stream[str])


# Ends -------------------------------------------------------------------------------------------------------


class Shelf(Sink[Order]):
    async def write(self, events: Sequence[Order]) -> None: ...


class Anything(Sink[object]):
    async def write(self, events: Sequence[object]) -> None: ...


async def store(order: Order) -> None: ...


def keep(order: Order) -> int:
    return order.id


assert_type(orders.to(Shelf()), Ending)
assert_type(orders.to(Anything()), Ending)
assert_type(orders.to(keep), Ending)
assert_type(orders.to(print), Ending)
assert_type(orders.to(lambda o: print(o.total)), Ending)
assert_type(orders.to(store, concurrency=3, key=lambda o: o.id), Ending)
assert_type(orders.discard(), Ending)

shop = topic("memory:orders", Order, Cancelled)
assert_type(shop, Topic[Order | Cancelled])
assert_type(topic("memory:orders", Order), Topic[Order])
assert_type(
    orders.to(shop, key=lambda o: o.country, time=lambda o: o.placed, id=lambda o: str(o.id)),
    Ending,
)
assert_type(shop.subscribe("billing"), Stream[Order | Cancelled])
assert_type(shop.subscribe("billing", Order), Stream[Order])
assert_type(shop.subscribe("billing", Order, Cancelled), Stream[Order | Cancelled])
assert_type(shop.subscribe("billing").of_type(Order), Stream[Order])
assert_type(shop.read(), Stream[Order | Cancelled])
assert_type(topic("memory:dead", StoredLetter).read(), Stream[StoredLetter])
assert_type(Stream(files.jsonl("orders.jsonl", Order)), Stream[Order])
assert_type(Stream(files.csv("orders.csv", Order)), Stream[Order])
assert_type(table("sqlite:shop.db/orders", Order, key="id", create=True), Sink[Order])
assert_type(
    orders.to(
        table("sqlite:shop.db/orders", Order, key=["id"], columns={"id": "id", "cost": lambda o: o.total})
    ),
    Ending,
)
assert_type(orders.to(table("sqlite:shop.db/seen", columns={"id": "id", "seen": str}, key="id")), Ending)


# In place ---------------------------------------------------------------------------------------------------


async def in_place() -> None:
    assert_type(await orders.collect(), list[Order])
    assert_type(await orders.count(), int)
    assert_type(await orders.first(), Order)
    assert_type(await orders.first(None), Order | None)
    assert_type(await orders.last(), Order)
    assert_type(await orders.last(0), Order | int)
    assert_type(await orders.fold(lambda total, o: total + o.total, 0.0), float)

    def append(state: list[int], order: Order) -> list[int]:
        return [*state, order.id]

    assert_type(await orders.fold(append, factory=list), list[int])
    async with orders.open() as events:
        async for event in events:
            assert_type(event, Order)
    async for order in orders:
        assert_type(order, Order)


# Pipelines --------------------------------------------------------------------------------------------------


def bury(letter: DeadLetter) -> None: ...


async def bury_later(letter: DeadLetter) -> None: ...


class Graves(Sink[DeadLetter]):
    async def write(self, events: Sequence[DeadLetter]) -> None: ...


async def again(error: Exception) -> bool:
    return False


async def running() -> None:
    pipeline = Pipeline(
        "p", orders.discard(), orders.to(keep), dead_letters=bury, capacity=5, chunk=5, interval=1
    )
    Pipeline("p", orders.discard(), dead_letters=bury_later)
    Pipeline("p", orders.discard(), dead_letters=Graves())
    Pipeline("p", orders.discard(), dead_letters=topic("memory:dead", StoredLetter))
    assert_type(await pipeline.run(drain=5), Run)
    assert_type(await pipeline.run(on_failure=lambda error: True), Run)
    assert_type(await pipeline.run(on_failure=lambda error: 0.5), Run)
    assert_type(await pipeline.run(on_failure=again), Run)
    async with pipeline.start() as run:
        assert_type(run, Run)
        assert_type(run.metrics(), Metrics)
        await run.drain()
        run.cancel()
    assert_type(await reactor.run(pipeline, pipeline), list[Run])
    assert_type(pipeline.explain("json"), str)

    inlet = Inlet[Order](5)
    order = Order(1, "UK", 1.0, datetime.now(UTC))
    await inlet.send(order)
    await inlet.deliver(order)
    inlet.send_nowait(order)
