"""A pipeline whose four files stand apart, so that a fault can strike each of them; and what has to come out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec

from reactor import Checkpoints, DeadLetters, Pipeline, Restart, Sink, Topic, table, topic

COUNT = 300
FIRST = 100
"""Orders that an earlier run has taken, before anything goes wrong."""
GATE = 180
"""The order before which a run waits for the fault."""
POISON = 10
PIECE = 16
LONG = "x" * 200
"""So that all files grow."""

Out = Literal["topic", "table"]
Place = Literal["in.db", "state.db", "out.db", "dead.db"]
PLACES: tuple[Place, ...] = ("in.db", "state.db", "out.db", "dead.db")


class Order(msgspec.Struct, frozen=True):
    number: int
    text: str


class Sum(msgspec.Struct, frozen=True):
    number: int
    total: int
    text: str


class Unfit(Exception):
    """What every tenth order fails with."""


def fit(order: Order) -> Order:
    if order.number % POISON == POISON - 1:
        raise Unfit(f"order {order.number}")
    return order


def added(sum: Sum, order: Order) -> Sum:
    return Sum(order.number, sum.total + order.number, order.text)


def expected_sums() -> list[tuple[int, int]]:
    sums: list[tuple[int, int]] = []
    total = 0
    for n in range(COUNT):
        if n % POISON != POISON - 1:
            total += n
            sums.append((n, total))
    return sums


def expected_letters() -> list[int]:
    return [n for n in range(COUNT) if n % POISON == POISON - 1]


class Gate:
    """Orders go through it, until it is told to wait before one."""

    def __init__(self) -> None:
        self.closed = False
        self.reached = anyio.Event()
        self._opened = anyio.Event()

    async def __call__(self, order: Order) -> Order:
        if self.closed and order.number == GATE:
            self.reached.set()
            await self._opened.wait()
        return order

    def open(self) -> None:
        self.closed = False
        self._opened.set()


class Shop:
    """Orders in, sums out; to a topic or a table."""

    def __init__(self, folder: Path, out: Out) -> None:
        self.folder = folder
        self.out = out
        self.orders: Topic[Order] = topic(f"sqlite:{folder}/in.db/orders", Order)
        self.sums: Topic[Sum] = topic(f"sqlite:{folder}/out.db/sums", Sum)
        self.dead: Topic[Any] = topic(f"sqlite:{folder}/dead.db/dead")

    def sink(self) -> Sink[Sum]:
        if self.out == "topic":
            return self.sums.sink()
        return table(f"sqlite:{self.folder}/out.db/sums", Sum, create=True)

    def pipeline(
        self,
        *,
        gate: Callable[[Order], Any] | None = None,
        restart: Restart | None = None,
        sink: Sink[Sum] | None = None,
        follow: bool = False,
        lease: float = 10,
    ) -> Pipeline:
        sums = (
            self.orders.subscribe("shop", follow=follow, poll=0.05)
            .map(gate or Gate(), concurrency=1, name="gate")
            .map(fit, on_error=DeadLetters())
            .distinct(name="once")
            .scan(added, Sum(0, 0, ""), name="sum")
            .to(sink or self.sink())
        )
        return Pipeline(
            "shop",
            sums,
            dead_letters=self.dead,
            checkpoint=Checkpoints(
                f"sqlite:{self.folder}/state.db", interval=0.01, spacing=0.01, lease=lease
            ),
            guarantee="exactly-once",
            restart=restart,
            capacity=PIECE,
            chunk=PIECE,
        )

    async def publish(self, first: int = 0, last: int = COUNT) -> None:
        await self.orders.publish([Order(n, f"{n} {LONG}") for n in range(first, last)])

    async def begun(self, more: int = COUNT - FIRST) -> None:
        """An earlier run has done a part of it, and all files are there; ``more`` orders wait."""
        await self.publish(0, FIRST)
        await self.pipeline().run()
        await self.publish(FIRST, FIRST + more)

    async def check(self) -> None:
        """All came out, once."""
        assert await anyio.to_thread.run_sync(self._found) == expected_sums()
        assert await anyio.to_thread.run_sync(self._letters) == expected_letters()
        assert await self.orders.position("shop") == COUNT

    def _found(self) -> list[tuple[int, int]]:
        with closing(sqlite3.connect(self.folder / "out.db")) as db:
            if self.out == "table":
                return db.execute("SELECT number, total FROM sums ORDER BY rowid").fetchall()
            rows = db.execute("SELECT data FROM events ORDER BY place").fetchall()
        each = [msgspec.json.decode(data, type=Sum) for (data,) in rows]
        return [(sum.number, sum.total) for sum in each]

    def _letters(self) -> list[int]:
        with closing(sqlite3.connect(self.folder / "dead.db")) as db:
            rows = db.execute("SELECT data FROM events ORDER BY place").fetchall()
        return sorted(msgspec.json.decode(data)["event"]["number"] for (data,) in rows)
