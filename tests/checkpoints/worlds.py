"""Pipelines with everything that a checkpoint has to save, and ends that know what came twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel

from reactor import Count, Record, Session, Sink, Sliding, Source, Stream, Topic, Tumbling

NUMBERS = 400
MORE = 300


class Numbers(Source[int]):
    """Numbers from ``base`` on, in pieces of random sizes; it can be read from any position."""

    seekable = True

    def __init__(self, dice: random.Random, count: int = NUMBERS, base: int = 0) -> None:
        self.name = f"numbers from {base}"
        self._dice = dice
        self._count = count
        self._base = base
        self._at = 0

    async def open(self) -> None:
        self._at = 0

    async def read(self, limit: int) -> Sequence[Record[int]] | None:
        if self._dice.random() < 0.3:
            await anyio.sleep(0.001)
        else:
            await anyio.lowlevel.checkpoint()
        if self._at >= self._count:
            return None
        n = min(limit, self._dice.randint(1, 7), self._count - self._at)
        found = [
            Record(self._base + at, position=at, topic=self.name) for at in range(self._at, self._at + n)
        ]
        self._at += n
        return found

    def position(self) -> int:
        return self._at

    async def seek(self, position: int) -> None:
        self._at = position


class Staging(Sink[Any]):
    """A sink that stages what it is given: its ``seen`` outlives the run, as a table would."""

    transactional = True

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._staged: dict[int, list[Any]] = {}
        self._fresh: list[Any] = []

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        self._fresh = []
        self._publish(decided)
        self._staged.clear()

    async def write(self, events: Sequence[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        self._fresh += events

    async def prepare(self, number: int) -> None:
        self._staged[number], self._fresh = self._fresh, []
        await anyio.lowlevel.checkpoint()

    async def publish(self, number: int) -> None:
        self._publish(number)
        await anyio.lowlevel.checkpoint()

    def _publish(self, number: int) -> None:
        for each in sorted(self._staged):
            if each <= number:
                self.seen += self._staged.pop(each)


async def committed(numbers: Topic[Any], position: int) -> None:
    """Return once the group g has committed this position of the topic."""
    with anyio.fail_after(10):
        while (await numbers.groups()).get("g") != position:
            await anyio.sleep(0.001)


def _slow(dice: random.Random) -> Callable[[Any], Any]:
    async def slow(number: Any) -> Any:
        await anyio.sleep(dice.random() * 0.003)
        return number

    return slow


async def _some(number: int) -> AsyncIterator[tuple[int, int]]:
    for at in range(number % 3):
        await anyio.sleep(0.0005)
        yield number, at


def _add(total: int, number: int) -> int:
    return total + number


def _timed(dice: random.Random) -> Stream[int]:
    """Out of order by up to 3 seconds."""
    return Stream(Numbers(dice)).event_time(lambda n: float(n ^ 3), unit="s", out_of_order=4)


def _listed(stream: Stream[Any]) -> Stream[Any]:
    return stream.map(lambda found: (found.key, found.window, tuple(found.value)))


def _fanned(dice: random.Random) -> Stream[Any]:
    shared = Stream(Numbers(dice)).map(lambda n: n)
    batched = shared.filter(lambda n: n % 2).batch(5).map(tuple)
    return batched.merge(shared.map(_slow(dice), concurrency=4).map(lambda n: (n,)))


def _two(dice: random.Random) -> tuple[Stream[int], Stream[int]]:
    return Stream(Numbers(dice)), Stream(Numbers(dice, MORE, 1000))


def _both_timed(dice: random.Random) -> tuple[Stream[int], Stream[int]]:
    left = Stream(Numbers(dice)).event_time(float, unit="s")
    return left, Stream(Numbers(dice, MORE, 50)).event_time(float, unit="s", out_of_order=5)


def _zipped(dice: random.Random) -> Stream[Any]:
    left, right = _two(dice)
    return left.zip(right, name="zip")


def _joined(dice: random.Random) -> Stream[Any]:
    left, right = _both_timed(dice)
    return left.key_by(lambda n: n % 5).join(right.key_by(lambda n: n % 5), Tumbling(20), name="join")


def _merged(dice: random.Random) -> Stream[Any]:
    left, right = _both_timed(dice)
    return left.merge(right).key_by(lambda n: n % 3).window(Tumbling(15), name="window").count()


def _interleaved(dice: random.Random) -> Stream[Any]:
    left, right = _two(dice)
    return left.interleave(right)


def _behind(dice: random.Random) -> Stream[Any]:
    first, second = _two(dice)
    return first.concat(second).enumerate(name="number")


BUILT: dict[str, Callable[[random.Random], Stream[Any]]] = {
    "map": lambda d: Stream(Numbers(d)).map(lambda n: n + 1),
    "flat_map": lambda d: Stream(Numbers(d)).flat_map(lambda n: [n] * (n % 4)).scan(_add, 0, name="sum"),
    "scan": lambda d: Stream(Numbers(d)).scan(_add, 0, name="sum"),
    "scan keyed": lambda d: Stream(Numbers(d)).key_by(lambda n: n % 7).scan(_add, 0, name="sum"),
    "distinct": lambda d: Stream(Numbers(d)).map(lambda n: n // 3).distinct(name="once"),
    "distinct last": lambda d: Stream(Numbers(d)).map(lambda n: n % 10).distinct(last=4, name="once"),
    "batch": lambda d: Stream(Numbers(d)).batch(13).map(tuple),
    "batch by weight": lambda d: Stream(Numbers(d)).batch(max_weight=50, weight=lambda n: n % 9).map(tuple),
    "batch with a wait": lambda d: Stream(Numbers(d)).batch(13, max_wait=60).map(tuple),
    "take": lambda d: Stream(Numbers(d)).take(150, name="some"),
    "take_while": lambda d: Stream(Numbers(d)).take_while(lambda n: n < 211, name="some"),
    "skip": lambda d: Stream(Numbers(d)).skip(97, name="some"),
    "skip_while": lambda d: Stream(Numbers(d)).skip_while(lambda n: n < 111, name="some"),
    "pairwise": lambda d: Stream(Numbers(d)).pairwise(name="pairs"),
    "enumerate": lambda d: Stream(Numbers(d)).enumerate(name="number"),
    "delay": lambda d: Stream(Numbers(d)).delay(0.004),
    "map async": lambda d: Stream(Numbers(d)).map(_slow(d), concurrency=5),
    "map async, as done": lambda d: Stream(Numbers(d)).map(_slow(d), concurrency=5, ordered=False),
    "map async, by key": lambda d: Stream(Numbers(d)).map(_slow(d), concurrency=5, key=lambda n: n % 3),
    "two async maps": lambda d: (
        Stream(Numbers(d)).map(_slow(d), concurrency=5).batch(7).map(tuple).map(_slow(d), concurrency=3)
    ),
    "tumbling": lambda d: _timed(d).key_by(lambda n: n % 4).window(Tumbling(17), name="window").sum(),
    "tumbling lists": lambda d: _listed(
        _timed(d).key_by(lambda n: n % 4).window(Tumbling(17), name="window").collect()
    ),
    "sliding": lambda d: _timed(d).key_by(lambda n: n % 4).window(Sliding(30, every=7), name="window").max(),
    "sliding lists": lambda d: _listed(
        _timed(d).key_by(lambda n: n % 4).window(Sliding(30, every=7), name="window").collect()
    ),
    "session": lambda d: (
        Stream(Numbers(d))
        .event_time(lambda n: float(n + n // 20 * 15), unit="s")
        .key_by(lambda n: n % 4)
        .window(Session(gap=10), name="window")
        .count()
    ),
    "count": lambda d: Stream(Numbers(d)).key_by(lambda n: n % 4).window(Count(9), name="window").sum(),
    "count, every": lambda d: (
        Stream(Numbers(d)).key_by(lambda n: n % 4).window(Count(9, every=4), name="window").sum()
    ),
    "late": lambda d: (
        Stream(Numbers(d))
        .event_time(lambda n: float(n - n % 13 * 3), unit="s")
        .key_by(lambda n: n % 4)
        .window(Tumbling(17), name="window", lateness=20)
        .sum()
    ),
    "merge": lambda d: (
        Stream(Numbers(d))
        .merge(Stream(Numbers(d, MORE, 1000)))
        .key_by(lambda n: n // 1000)
        .scan(_add, 0, name="sum")
    ),
    "zip": _zipped,
    "interleave": _interleaved,
    "concat": _behind,
    "join": _joined,
    "merge of times": _merged,
    "fan-out": _fanned,
    "flat_map async": lambda d: Stream(Numbers(d)).flat_map(_some, concurrency=3),
    "flat_map async, as done": lambda d: Stream(Numbers(d)).flat_map(_some, concurrency=3, ordered=False),
    "zip of three": lambda d: Stream(Numbers(d)).zip(
        Stream(Numbers(d, MORE, 1000)), Stream(Numbers(d, 350, 5000)), name="zip"
    ),
    "merge of three": lambda d: (
        Stream(Numbers(d))
        .merge(Stream(Numbers(d, MORE, 1000)), Stream(Numbers(d, 350, 5000)))
        .key_by(lambda n: n // 1000)
        .scan(_add, 0, name="sum")
    ),
}
"""What comes out of each, as a whole, doesn't depend on timing."""
