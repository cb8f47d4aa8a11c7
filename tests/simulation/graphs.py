"""What is simulated: the graphs of the tests of checkpoints, and random ones, over the ends of a simulated world.

Results don't depend on timing: what minds the order stands only behind what keeps it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import anyio

from reactor import (
    Count,
    DeadLetters,
    Interval,
    Pipeline,
    Process,
    Restart,
    Retry,
    Session,
    Sink,
    Sliding,
    Source,
    Stream,
    Tumbling,
)
from reactor.testing import World
from reactor.testing.clock import Loop
from tests.checkpoints import worlds
from tests.engine.graphs import HUGE, number

NUMBERS = 60


class _Waits(random.Random):
    """Dice by which functions wait: another time in each process."""

    def __init__(self, world: World) -> None:
        super().__init__(0)
        self._world = world

    def random(self) -> float:
        return self._world.vary("wait", (0.5, 0.0, 0.1, 5.0))


def known(world: World, what: str) -> Stream[Any]:
    """One of the graphs of ``tests.checkpoints``."""

    def numbers(dice: Any, count: int = 0, base: int = 0) -> Source[int]:
        return world.source(f"numbers from {base}", range(base, base + (count or NUMBERS + 20) * 3 // 4))

    given = worlds.Numbers, worlds.MORE
    worlds.Numbers, worlds.MORE = numbers, NUMBERS  # type: ignore[assignment,misc]
    try:
        return worlds.BUILT[what](_Waits(world))
    finally:
        worlds.Numbers, worlds.MORE = given  # type: ignore[misc]


KNOWN = tuple(what for what in worlds.BUILT if what != "batch with a wait")
"""Not the one that is cut by the clock: processes that stand by for a minute cut it elsewhere."""


# Random graphs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Open:
    stream: Stream[Any]
    sources: frozenset[int]
    ordered: bool = True
    timed: bool = False
    flat: int = 0
    lettered: bool = False
    """True behind what makes dead letters: those of events that a take or zip cuts off may be made or not."""


class _Counting(Process[int, Any, Any]):
    """Counts the events of a key; a timer tells what it has come to, and begins anew."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0

    def event(self, event: Any, context: Any) -> Iterable[Any]:
        self.count += 1
        self.total = (self.total + number(event)) % 10_007
        context.at(context.time // 9_000_000 * 9_000_000 + 9_000_000)
        return [(context.key, self.count)] if self.count % 3 == 0 else ()

    def timer(self, time: int, context: Any) -> Iterable[Any]:
        found = (context.key, self.count, self.total)
        if self.total % 2:
            context.forget()
        self.total = 0
        return [found]

    def end(self, context: Any) -> Iterable[Any]:
        return [(context.key, self.count, 1)]


class _Pairing(Process[int, Any, Any]):
    """Pairs every two events of a key."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def event(self, event: Any, context: Any) -> Iterable[Any] | None:
        self.held.append(event)
        if len(self.held) < 2:
            return None
        found, self.held = (context.key, tuple(map(number, self.held))), []
        context.forget()
        return [found]


def _windowed(found: Any) -> Any:
    return (number(found.key or 0), found.window.start if found.window is not None else 0, found.value)


def _joined(found: Any) -> Any:
    left, right = found.value if hasattr(found, "window") else (found.left, found.right)
    return (number(found.key), -1 if left is None else number(left), -1 if right is None else number(right))


class Random:
    """Builds a random graph: the same one for each process of a seed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = world.dice
        self.names = 0

    def name(self, what: str) -> str:
        self.names += 1
        return f"{what} {self.names}"

    def key(self) -> Callable[[Any], int]:
        keys = self.dice.choice([1, 2, 3, 5])
        return lambda event: number(event) % keys

    def source(self, place: int) -> _Open:
        base, count = place * 1000, self.dice.choice([0, 5, 30, 60])
        stream: Stream[Any] = Stream(
            self.world.source(f"source {place}", range(base, base + count)),
            **({"restart": Restart(20, initial=0.01)} if self.dice.random() < 0.3 else {}),
        )
        timed = self.dice.random() < 0.5
        if timed:
            loose = self.dice.choice([0, 3])  # late by 3 seconds at most
            stream = stream.event_time(lambda event: float((event % 1000) ^ loose), 4, unit="s")
        return _Open(stream, frozenset({place}), timed=timed)

    def build(self) -> list[_Open]:
        dice = self.dice
        streams = [self.source(n) for n in range(dice.choice([1, 1, 2, 3]))]
        forked: set[int] = set()
        for _ in range(dice.randint(1, 7)):
            at = dice.randrange(len(streams))
            one = streams[at]
            kind = dice.choice(["op", "op", "op", "op", "op", "fork", "join", "join"])
            if kind == "op":
                streams[at] = self.operator(one)
            elif kind == "fork" and len(streams) < 4:
                forked |= one.sources
                streams[at : at + 1] = self.fork(one)
            elif kind == "join" and len(streams) > 1:
                other = dice.choice([n for n in range(len(streams)) if n != at])
                joined = self.join(one, streams[other], forked)
                if joined is not None:
                    streams[at] = joined
                    del streams[other]
        return streams

    # Operators:

    def operator(self, one: _Open) -> _Open:
        dice, stream = self.dice, one.stream
        verbs = [
            "map",
            "filter",
            "flat_map",
            "async",
            "async",
            "loose",
            "by key",
            "buffer",
            "again",
            "letters",
            "delay",
        ]
        if one.flat > 1:
            verbs.remove("flat_map")
        if one.ordered:
            verbs += [
                "scan",
                "keyed",
                "distinct",
                "last",
                "take",
                "skip",
                "until",
                "from",
                "pairs",
                "enumerate",
            ]
            if one.lettered:
                verbs = [verb for verb in verbs if verb not in ("take", "until")]
            verbs += ["batch", "weighed", "reduce", "count", "process", "paired"]
        if one.timed:
            verbs += ["window", "window", "window"]
            verbs += ["listed", "late", "timers"] if one.ordered else []
        verb = dice.choice(verbs)
        a = dice.randint(1, 5)
        match verb:
            case "map":
                return replace(one, stream=stream.map(lambda event: number(event) + a))
            case "filter":
                return replace(one, stream=stream.filter(lambda event: number(event) % (a + 1)))
            case "flat_map":
                found = stream.flat_map(
                    lambda event: [number(event) + n for n in range(number(event) % (a + 1))]
                )
                return replace(one, stream=found, flat=one.flat + 1)
            case "async" | "loose" | "by key":
                how: dict[str, Any] = {"concurrency": dice.choice([1, 2, 5, 20])}
                if verb == "by key":
                    how["key"] = self.key()
                elif verb == "loose":
                    how["ordered"] = False
                if dice.random() < 0.5:
                    how["retry"] = Retry(3, initial=0.01)
                if dice.random() < 0.2:
                    how["timeout"] = 1.0
                    how["retry"] = Retry(30, initial=0.01)
                found = stream.map(self.slow(a), name=self.name("call"), **how)
                return replace(one, stream=found, ordered=one.ordered and verb == "async")
            case "buffer":
                return replace(one, stream=stream.buffer(a))
            case "again":
                again = stream.batch(a, max_wait=dice.choice([None, 0.01])).flat_map(list)
                return replace(one, stream=again, timed=False)  # a batch has the time of its last event
            case "delay":
                return replace(one, stream=stream.delay(dice.choice([0.001, 0.02])))
            case "letters":
                failing = stream.map(self.failing(a), on_error=DeadLetters(), name=self.name("fails"))
                return replace(one, stream=failing, lettered=True)
            case "scan":
                return replace(one, stream=stream.scan(_mix, 1, name=self.name("scan")))
            case "keyed":
                found = stream.key_by(self.key()).scan(_mix, factory=int, name=self.name("keyed"))
                return replace(one, stream=found)
            case "distinct":
                return replace(
                    one, stream=stream.distinct(lambda e: number(e) % (a * 5), name=self.name("distinct"))
                )
            case "last":
                return replace(one, stream=stream.distinct(number, last=a, name=self.name("distinct")))
            case "take":
                return replace(one, stream=stream.take(a * 6, name=self.name("take")))
            case "skip":
                return replace(one, stream=stream.skip(a * 2, name=self.name("skip")))
            case "until":
                return replace(
                    one, stream=stream.take_while(lambda e: number(e) % 37 != 5 * a, name=self.name("until"))
                )
            case "from":
                return replace(
                    one, stream=stream.skip_while(lambda e: number(e) % 7 < a, name=self.name("from"))
                )
            case "pairs":
                return replace(one, stream=stream.pairwise(name=self.name("pairs")))
            case "enumerate":
                return replace(one, stream=stream.enumerate(name=self.name("number")))
            case "batch":
                return replace(one, stream=stream.batch(a).map(tuple))
            case "weighed":
                found = stream.batch(max_weight=a * 3, weight=lambda event: number(event) % 5).map(tuple)
                return replace(one, stream=found)
            case "reduce":
                found = stream.map(number).key_by(self.key()).reduce(_mix, name=self.name("reduce"))
                return replace(one, stream=found)
            case "count":
                assigner = Count(a + 1) if dice.random() < 0.5 else Count(a + 1, every=a)
                found = stream.map(number).key_by(self.key()).window(assigner, name=self.name("count")).sum()
                return replace(one, stream=found.map(lambda w: (number(w.key), w.value)), ordered=False)
            case "process" | "timers":
                kind = _Counting if verb == "timers" else _Pairing
                found = stream.key_by(self.key()).process(kind, name=self.name("process"))
                return replace(one, stream=found, ordered=False)
            case "paired":
                found = stream.key_by(self.key()).process(_Pairing, ttl=3600, name=self.name("process"))
                return replace(one, stream=found, ordered=False)
            case "window" | "listed" | "late":
                assigner = dice.choice([Tumbling(10), Tumbling(3), Sliding(12, every=5), Session(gap=4)])
                grouped = stream.map(number).key_by(self.key())
                settings: dict[str, Any] = {"lateness": dice.choice([0, 5])} if verb == "late" else {}
                windows = grouped.window(assigner, name=self.name("window"), **settings)
                if verb == "listed":
                    return replace(one, stream=windows.collect().map(_windowed).map(_flat), ordered=False)
                aggregate = dice.choice([windows.sum, windows.count, windows.max])
                return replace(one, stream=aggregate().map(_windowed), ordered=False)
        raise AssertionError(verb)

    def slow(self, more: int) -> Callable[[Any], Any]:
        world, called = self.world, self.dice.random() < 0.5

        async def slow(event: Any) -> Any:
            if called:
                await world.call("service")
            await anyio.sleep(world.vary("wait", (0.001, 0.0, 0.03, 0.3)))
            return number(event) + more

        return slow

    def failing(self, rest: int) -> Callable[[Any], Any]:
        def failing(event: Any) -> Any:
            if number(event) % 7 == rest:
                raise ValueError(number(event))
            return event

        return failing

    # Several streams:

    def fork(self, one: _Open) -> list[_Open]:
        kind = self.dice.choice(["share", "split", "route"])
        if kind == "share":
            return [one, one]
        if kind == "split":
            return [replace(one, stream=part) for part in one.stream.split(lambda event: number(event) % 3)]
        routes = one.stream.route(lambda event: "abc"[number(event) % 3], "a", "b")
        return [replace(one, stream=part) for part in (routes["a"], routes["b"], routes.other)]

    def join(self, one: _Open, two: _Open, forked: set[int]) -> _Open | None:
        sources = one.sources | two.sources
        timed = one.timed and two.timed
        kinds = ["merge"]
        if not one.sources & two.sources:
            kinds += ["concat"]
        lettered = one.lettered or two.lettered
        if one.ordered and two.ordered:
            kinds += ["interleave"] if lettered else ["zip", "interleave"]
        if timed:
            kinds += ["join", "join", "near", "table"]
        kind = self.dice.choice(kinds)
        left, right = one.stream, two.stream
        if kind in ("zip", "interleave", "concat") and sources & forked:
            left, right = left.buffer(HUGE), right.buffer(HUGE)
        flat = max(one.flat, two.flat)
        if kind == "merge":
            return _Open(left.merge(right), sources, False, timed, flat, lettered)
        if kind == "concat":
            return _Open(left.concat(right), sources, one.ordered and two.ordered, False, flat, lettered)
        if kind == "interleave":
            return _Open(left.interleave(right), sources, True, False, flat, lettered)
        if kind == "zip":
            return _Open(
                left.zip(right, name=self.name("zip")).map(tuple), sources, True, False, flat, lettered
            )
        key, name = self.key(), self.name("join")
        keyed, other = left.map(number).key_by(key), right.map(number).key_by(key)
        how: Any = self.dice.choice(["inner", "left", "outer"])
        if kind == "join":
            found = keyed.join(other, self.dice.choice([Tumbling(3), Session(gap=2)]), how=how, name=name)
        elif kind == "near":
            found = keyed.join(other, Interval(before=1, after=2), how=how, name=name)
        else:
            found = keyed.join_table(other, how="left", name=name)
            if not (one.ordered and two.ordered):
                return None
        return _Open(found.map(_joined), sources, False, timed, flat + 1, lettered)


def _mix(state: Any, event: Any) -> Any:
    return (number(state) * 3 + number(event)) % 10_007


def _flat(found: Any) -> Any:
    return (*found[:-1], tuple(found[-1]))


# Pipelines -------------------------------------------------------------------------------------------------


def pipeline(world: World, *streams: Stream[Any]) -> Pipeline:
    dice = world.dice
    exactly = dice.random() < 0.8
    branches = []
    for n, stream in enumerate(streams):
        sink: Sink[Any] = (
            world.table(f"out {n}") if exactly and dice.random() < 0.8 else world.sink(f"out {n}")
        )
        exactly = exactly and getattr(sink, "transactional", False)
        how = {"retry": Retry(3, initial=0.01)} if dice.random() < 0.3 else {}
        branches.append(stream.to(sink, **how))
    return Pipeline(
        "simulated",
        *branches,
        checkpoint=world.checkpoints(),
        guarantee="exactly-once" if exactly else "at-least-once",
        capacity=world.vary("capacity", (1024, 1, 3, 64)),
        chunk=world.vary("chunk", (4096, 1, 5, 64)),
        dead_letters=world.dead_letters(),
        **({"restart": Restart(2, initial=0.05)} if dice.random() < 0.2 else {}),
    )


def of_known(world: World) -> Pipeline:
    """One of the known graphs, each in its turn."""
    return pipeline(world, known(world, KNOWN[world.seed % len(KNOWN)]))


def of_random(world: World) -> Pipeline:
    """A random graph."""
    return pipeline(world, *(one.stream for one in Random(world).build()))


def of_seed(world: World) -> Pipeline:
    """Every third one is a known graph, the others are random."""
    return of_known(world) if world.seed % 3 == 0 else of_random(world)


def loop_of(seed: int) -> Loop:
    """Most run on asyncio, where tasks can also be held up; each fifth on trio."""
    return "trio" if seed % 5 == 4 else "asyncio"
