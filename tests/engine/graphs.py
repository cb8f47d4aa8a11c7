"""Random graphs: what to build (plain data, which Hypothesis draws and shrinks), and how to build it.

Events are ints, or lists and tuples of events; every function works on ``number(event)``, so that any operator can
follow any other.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reactor import (
    Closed,
    DeadLetter,
    DeadLetters,
    Fail,
    Fallback,
    Full,
    Inlet,
    Pipeline,
    RateLimit,
    Record,
    Run,
    Sink,
    Skip,
    Source,
    Stream,
)
from reactor.testing import Outcome, interpret

PATIENCE = 20.0
"""Seconds after which a run counts as hanging."""

HUGE = 1_000_000


WANTED = int(os.environ.get("REACTOR_EXAMPLES", "150"))
"""Examples of each property. ``make test`` draws the same ones each time, REACTOR_EXAMPLES=5000 others."""

TIME = pytest.mark.timeout(60 + WANTED)


def examples(share: float = 1.0) -> settings:
    """The settings of a property."""
    return settings(
        max_examples=max(1, int(WANTED * share)),
        derandomize="REACTOR_EXAMPLES" not in os.environ,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


class Broken(Exception):
    """What the functions, sources and sinks raise that are asked to."""


class Crash(Exception):
    """What ends a run in any place: ``World.crash_at``."""


def number(event: Any) -> int:
    """A number for any event."""
    if isinstance(event, int):
        return event
    return sum((n + 1) * number(one) for n, one in enumerate(event)) + 7


# What to build ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A source: ``kind``, its events, and where and how it waits, is cut, and breaks."""

    kind: str
    start: int
    count: int
    waits: tuple[int, ...] = (0,)
    cuts: tuple[int, ...] = (HUGE,)
    breaks: int | None = None
    """It raises after so many events."""

    @property
    def events(self) -> range:
        return range(self.start, self.start + self.count)


@dataclass(frozen=True)
class Fails:
    """Which events make a function raise: those whose number leaves ``rest``."""

    every: int
    rest: int

    def check(self, event: Any) -> None:
        if number(event) % self.every == self.rest:
            raise Broken(event)


@dataclass(frozen=True)
class Pool:
    concurrency: int
    order: str
    """``input``, ``done`` or ``key``."""
    waits: tuple[int, ...]
    """How often the function waits, by the event's number."""


@dataclass(frozen=True)
class Op:
    verb: str
    a: int = 2
    b: int = 0
    fails: Fails | None = None
    policy: str = "fail"
    pool: Pool | None = None


@dataclass(frozen=True)
class Step:
    """One step of building: what is done with which of the open streams."""

    kind: str
    at: tuple[int, ...]
    op: Op | None = None


@dataclass(frozen=True)
class Plan:
    """A whole pipeline."""

    sources: tuple[Given, ...]
    steps: tuple[Step, ...]
    sinks: tuple[Op, ...]
    capacity: int = 1024
    chunk: int = 1024


# How to draw it --------------------------------------------------------------------------------------------

PER_EVENT = (
    "map",
    "filter",
    "flat_map",
    "tap",
    "starmap",
    "of_type",
    "buffer",
    "rate_limit",
    "timed",
    "again",
)
"""``timed`` and ``again`` are batches that are taken apart again: what they hold has no shape of its own."""
IN_ORDER = (
    "scan",
    "take",
    "take_while",
    "skip",
    "skip_while",
    "distinct",
    "enumerate",
    "pairwise",
    "batch",
    "weighed",
    "reduce",
    "keyed",
)
CALLING = ("map", "filter", "flat_map", "tap", "starmap")
FAILING = (
    *CALLING,
    "scan",
    "take_while",
    "skip_while",
    "distinct",
    "reduce",
    "keyed",
    "split",
    "route",
    "to",
)
SOURCES = ("range", "list", "tuple", "iterator", "generator", "async", "source", "inlet")

small = st.integers(1, 4)
waits = st.lists(st.sampled_from([0, 0, 0, 1, 2, 5]), min_size=1, max_size=4).map(tuple)
sizes = st.one_of(st.integers(1, 5), st.sampled_from([16, 1024]))


@dataclass
class _Open:
    """What the strategy knows of an open stream."""

    sources: frozenset[int]
    determined: bool = True
    flat: int = 0


@dataclass(frozen=True)
class Choice:
    """Which graphs are wanted."""

    verbs: tuple[str, ...] = PER_EVENT + IN_ORDER
    kinds: tuple[str, ...] = ("op", "op", "op", "op", "share", "split", "route", "merge", "concat", "zip")
    sources: tuple[str, ...] = SOURCES
    most_sources: int = 3
    steps: int = 8
    events: int = 30
    pools: bool = True
    unordered: bool = True
    policies: tuple[str, ...] = ()
    """How functions that fail are dealt with; none fail where this is empty."""
    broken_sources: bool = False
    join_parts: bool = True
    """Also concat and zip what comes from one source in parts, which holds back all of that source's events."""
    sinks: tuple[str, ...] = ("function", "async", "object", "discard")


LINEAR = Choice(kinds=("op",), most_sources=1)


@st.composite
def givens(draw: st.DrawFn, choice: Choice, place: int) -> Given:
    kind = draw(st.sampled_from(choice.sources))
    count = draw(st.integers(0, choice.events))
    given = Given(
        kind, place * 1000, count, draw(waits), draw(st.lists(small, min_size=1, max_size=3).map(tuple))
    )
    if choice.broken_sources and kind in ("generator", "async", "source") and draw(st.booleans()):
        given = replace(given, breaks=draw(st.integers(0, count)))
    return given


@st.composite
def pools(draw: st.DrawFn, orders: Sequence[str]) -> Pool:
    return Pool(draw(st.sampled_from([1, 2, 3, 5, 20])), draw(st.sampled_from(orders)), draw(waits))


@st.composite
def operators(draw: st.DrawFn, choice: Choice, verb: str) -> Op:
    op = Op(verb, draw(st.integers(1, 5)), draw(st.integers(0, 4)))
    if choice.policies and verb in FAILING and draw(st.booleans()):
        every = draw(st.integers(1, 13))
        op = replace(op, fails=Fails(every, draw(st.integers(0, every - 1))))
        op = replace(op, policy=draw(st.sampled_from(choice.policies)))
    if choice.pools and verb in CALLING and draw(st.booleans()):
        orders = ("input", "done", "key") if choice.unordered else ("input",)
        op = replace(op, pool=draw(pools(orders)))
    return op


@st.composite
def plans(draw: st.DrawFn, choice: Choice = Choice()) -> Plan:
    sources = [draw(givens(choice, n)) for n in range(draw(st.integers(1, choice.most_sources)))]
    streams = [_Open(frozenset({n})) for n in range(len(sources))]
    forked: set[int] = set()
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, choice.steps))):
        kind = draw(st.sampled_from(choice.kinds))
        at = draw(st.integers(0, len(streams) - 1))
        one = streams[at]
        if kind == "op":
            verbs = [v for v in choice.verbs if v in PER_EVENT or one.determined]
            if one.flat > 1:
                verbs = [v for v in verbs if v != "flat_map"]
            op = draw(operators(choice, draw(st.sampled_from(verbs))))
            steps.append(Step("op", (at,), op))
            keeps = op.pool is None or op.pool.order == "input"
            streams[at] = _Open(one.sources, one.determined and keeps, one.flat + (op.verb == "flat_map"))
        elif kind in ("share", "split", "route"):
            if len(streams) > 4:
                continue
            op = draw(operators(choice, kind))
            steps.append(Step(kind, (at,), op))
            streams[at : at + 1] = [replace(one) for _ in range(3 if kind == "route" else 2)]
            forked |= one.sources
        else:
            other = draw(st.integers(0, len(streams) - 1))
            two = streams[other]
            if at == other or (kind == "concat" and one.sources & two.sources):
                continue
            if kind == "zip" and not (one.determined and two.determined):
                continue
            sources_of = one.sources | two.sources
            # A join may have to wait for one side while the other goes on: where the sides come from the same
            # source, only a buffer keeps them from waiting for each other.
            if kind != "merge" and sources_of & forked:
                if not choice.join_parts:
                    continue
                kind = f"buffered {kind}"
            steps.append(Step(kind, (at, other)))
            determined = one.determined and two.determined and kind != "merge"
            streams[at] = _Open(sources_of, determined, max(one.flat, two.flat))
            del streams[other]
    sinks = []
    for _ in streams:
        kind = draw(st.sampled_from(choice.sinks))
        sink = replace(draw(operators(choice, "to")), verb=kind)
        if kind == "async":
            sink = replace(
                sink, pool=draw(pools(("input", "done", "key") if choice.unordered else ("input",)))
            )
        sinks.append(sink if kind != "discard" else replace(sink, fails=None))
    return Plan(tuple(sources), tuple(steps), tuple(sinks), draw(sizes), draw(sizes))


# How to build it -------------------------------------------------------------------------------------------


class Replayed(Source[int]):
    """A source with positions: a run begins where the last one has committed."""

    replay = True

    def __init__(self, given: Given, world: "World") -> None:
        self.given = given
        self.world = world
        self.name = f"source {given.start}"
        self.committed = 0
        self.at = 0
        self.reads = 0
        self.opened = self.closed = 0

    async def open(self) -> None:
        assert not self.opened
        self.opened += 1
        await anyio.lowlevel.checkpoint()
        self.at = self.committed

    async def read(self, limit: int) -> list[Record[int]] | None:
        assert self.opened
        assert not self.closed
        given = self.given
        self.reads += 1
        for _ in range(given.waits[self.reads % len(given.waits)]):
            await anyio.lowlevel.checkpoint()
        if self.at == given.breaks:
            raise Broken(given.kind)
        if self.at >= given.count:
            return None
        last = given.count if given.breaks is None else min(given.count, given.breaks)
        n = min(limit, given.cuts[self.reads % len(given.cuts)], last - self.at)
        self.at += n
        return [Record(given.events[at], position=at) for at in range(self.at - n, self.at)]

    def position(self) -> int:
        return self.at

    async def commit(self, position: int) -> None:
        assert self.opened
        assert not self.closed
        assert position >= self.committed, "commits never go back"
        self.committed = position

    async def close(self) -> None:
        assert self.opened, "what wasn't opened needs no close"
        self.closed += 1
        await anyio.lowlevel.checkpoint()


class Kept(Sink[Any]):
    """A sink that is an object, and notes what is done to it."""

    def __init__(
        self, name: str, op: Op, take: Callable[[Sequence[Any]], None], seen: "Seen", world: "World"
    ) -> None:
        self.name = name
        self.take = take
        self.seen = seen
        self.world = world
        self.opened = self.closed = 0
        self.writing = False
        self.op = op
        self.most = 0

    async def open(self) -> None:
        assert not self.opened
        self.opened += 1
        await anyio.lowlevel.checkpoint()
        self.world.breaks(f"{self.name}.open")

    async def write(self, events: Sequence[Any]) -> None:
        assert self.opened
        assert not self.closed
        assert not self.writing, "one write is in flight at a time"
        assert events
        self.most = max(self.most, len(events))
        self.writing = True
        try:
            self.world.tick(self.op)
            await anyio.lowlevel.checkpoint()
            self.take(events)
        finally:
            self.writing = False

    async def flush(self) -> None:
        assert not self.writing
        await anyio.lowlevel.checkpoint()
        self.world.breaks(f"{self.name}.flush")
        self.seen.stored = len(self.seen.events)

    async def close(self) -> None:
        assert self.opened
        self.closed += 1
        await anyio.lowlevel.checkpoint()
        self.world.breaks(f"{self.name}.close")


@dataclass
class Seen:
    """What one end has got."""

    events: list[Any] = field(default_factory=list)
    counted: bool = True
    """False for discard(), which tells nothing."""
    stored: int | None = None
    """How many of them are safe, where that takes a flush."""

    @property
    def safe(self) -> list[Any]:
        return self.events if self.stored is None else self.events[: self.stored]


class World:
    """One pipeline built from a plan, and everything around it that a test looks at."""

    def __init__(self, plan: Plan, **settings: Any) -> None:
        self.plan = plan
        self.stands_in: dict[Any, Any] = {}
        self.seen: list[Seen] = []
        self.letters: list[DeadLetter] = []
        self.sinks: list[Kept] = []
        self.replayed: list[Replayed] = []
        self.inlets: list[tuple[Inlet[int], Given]] = []
        self.generators = 0
        """How many generators are open now."""
        self.wrong: list[str] = []
        """What must never happen and has."""
        self.broken: dict[str, Exception] = {}
        self.calls = 0
        self.crash_at: int | None = None
        """From this call on, every function or sink raises whose failure ends the run."""
        self.error: BaseException | None = None
        self.run: Run | None = None
        settings = {"capacity": plan.capacity, "chunk": plan.chunk, "interval": 0.001} | settings
        ends = _build(plan, self)
        self.pipeline = Pipeline("random", *ends, dead_letters=self.letters.append, **settings)

    def tick(self, op: Op) -> None:
        """A function or a sink is called."""
        self.calls += 1
        if self.crash_at is not None and self.calls >= self.crash_at and op.policy == "fail":
            raise Crash(self.calls)

    def breaks(self, place: str) -> None:
        """Raise what a test has put there."""
        if place in self.broken:
            raise self.broken[place]

    def outcome(self) -> Outcome:
        """What the interpreter says; batches that are taken apart again are left out, however they were cut."""
        steps = tuple(
            replace(step, op=Op("same")) if step.op and step.op.verb in ("timed", "again") else step
            for step in self.plan.steps
        )
        world = World(replace(self.plan, steps=steps))
        return interpret(world.pipeline, world.stands_in)

    # Running:

    async def execute(self, during: "During | None" = None, feed: "Feeding | None" = None) -> None:
        """Run it to its end, feeding the inlets; its failure is in ``error``."""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as feeders:
                for inlet, given in self.inlets:
                    feeders.start_soon(feed or _feed, inlet, given)
                try:
                    async with self.pipeline.start(drain=PATIENCE) as self.run:
                        if during is not None:
                            await during(self.run)
                        await self.run.wait()
                except Exception as error:
                    self.error = error

    @property
    def state(self) -> str:
        assert self.run is not None
        return self.run.state

    def check_closed(self) -> None:
        """Whatever has been opened is closed, once."""
        for end in (*self.sinks, *self.replayed):
            assert (end.opened, end.closed) in {(1, 1), (0, 0)}, f"{end.name}: {end.opened}, {end.closed}"
        assert self.generators == 0
        assert all(inlet.closed for inlet, _ in self.inlets)
        assert self.wrong == []


During = Callable[[Run], Awaitable[None]]
Feeding = Callable[[Inlet[int], Given], Awaitable[None]]


async def _feed(inlet: Inlet[int], given: Given) -> None:
    try:
        for n, event in enumerate(given.events):
            for _ in range(given.waits[n % len(given.waits)]):
                await anyio.lowlevel.checkpoint()
            if event % 3:
                await inlet.send(event)
                continue
            while True:
                try:
                    inlet.send_nowait(event)
                    break
                except Full:
                    await anyio.lowlevel.checkpoint()
        inlet.close()
    except Closed:
        pass


def _source(given: Given, world: World) -> Stream[int]:
    events = given.events
    if given.kind == "range":
        return Stream(events)
    if given.kind == "list":
        return Stream(list(events))
    if given.kind == "tuple":
        return Stream(tuple(events))
    if given.kind == "source":
        source = Replayed(given, world)
        world.replayed.append(source)
        world.stands_in[source] = _Again(given)
        return Stream(source)
    if given.kind == "inlet":
        inlet = Inlet[int](given.cuts[0])
        world.inlets.append((inlet, given))
        world.stands_in[inlet] = events
        return Stream(inlet)
    if given.kind == "async":

        async def waiting() -> AsyncIterator[int]:
            world.generators += 1
            try:
                for n, event in enumerate(events):
                    if n == given.breaks:
                        raise Broken("async")
                    for _ in range(given.waits[n % len(given.waits)]):
                        await anyio.lowlevel.checkpoint()
                    yield event
                if given.count == given.breaks:
                    raise Broken("async")
            finally:
                world.generators -= 1

        world.stands_in[waiting] = _Again(given)
        return Stream(waiting)

    def plain() -> Iterator[int]:
        world.generators += 1
        try:
            yield from _Again(given)
        finally:
            world.generators -= 1

    if given.kind == "generator":
        world.stands_in[plain] = _Again(given)
        return Stream(plain)
    iterator = iter(list(events))
    world.stands_in[iterator] = events
    return Stream(iterator)


class _Again:
    """The events of a source, and where it breaks, as often as they are wanted."""

    def __init__(self, given: Given) -> None:
        self.given = given

    def __iter__(self) -> Iterator[int]:
        for n, event in enumerate(self.given.events):
            if n == self.given.breaks:
                raise Broken(self.given.kind)
            yield event
        if self.given.count == self.given.breaks:
            raise Broken(self.given.kind)


def _function(op: Op, world: World, result: Callable[[Any], Any]) -> Callable[[Any], Any]:
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
        if waiting > pool.concurrency:
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


def _how(op: Op, fallback: Callable[[Any], Any]) -> dict[str, Any]:
    how: dict[str, Any] = {}
    if op.policy != "fail" or op.fails is not None:
        how["on_error"] = {
            "fail": Fail(),
            "skip": Skip(),
            "letters": DeadLetters(),
            "fallback": Fallback(fallback),
        }[op.policy]
    if op.pool is not None:
        how["concurrency"] = op.pool.concurrency
        if op.pool.order == "key":
            how["key"] = _key
        else:
            how["ordered"] = op.pool.order == "input"
    return how


def _apply(stream: Stream[Any], op: Op, world: World) -> Stream[Any]:
    a, b = op.a, op.b
    match op.verb:
        case "map":
            fn = _function(op, world, lambda event: number(event) + a)
            return stream.map(fn, **_how(op, lambda event: number(event) + 500_000))
        case "filter":
            fn = _function(op, world, lambda event: number(event) % (a + 1) != b)
            return stream.filter(fn, **_how(op, lambda event: number(event) % 2))
        case "flat_map":
            fn = _function(
                op, world, lambda event: [number(event) + n for n in range(number(event) % (a + 1))]
            )
            return stream.flat_map(fn, **_how(op, lambda event: [number(event) + 600_000, 1]))
        case "tap":
            return stream.tap(_function(op, world, lambda event: None), **_how(op, lambda event: None))
        case "starmap":
            called = _function(op, world, lambda event: event[0] + event[1])
            fn = _starred_async(called) if op.pool else _starred(called)
            world.stands_in[fn] = _starred(world.stands_in[called])
            pairs = stream.map(lambda event: (number(event), a))
            return pairs.starmap(fn, **_how(op, lambda pair: pair[0] + 700_000))
        case "of_type":
            return stream.map(lambda event: number(event) if number(event) % 3 else str(event)).of_type(int)
        case "buffer":
            return stream.buffer(a)
        case "rate_limit":
            return stream.rate_limit(RateLimit(1e9, burst=a))
        case "timed":
            return stream.batch(a, max_wait=0.001 * b + 0.0005).flat_map(lambda events: list(events))
        case "scan":
            fn = _pair_function(op, world)
            return stream.scan(fn, 1, volatile=True, **_how(op, number))
        case "take":
            return stream.take(a * 3 + b - 3, volatile=True)
        case "take_while":
            fn = _function(op, world, lambda event: number(event) % 17 != b + 5)
            return stream.take_while(fn, volatile=True, **_how(op, lambda event: True))
        case "skip":
            return stream.skip(a * b, volatile=True)
        case "skip_while":
            fn = _function(op, world, lambda event: number(event) % 5 < a)
            return stream.skip_while(fn, volatile=True, **_how(op, lambda event: True))
        case "distinct":
            fn = _function(op, world, lambda event: number(event) % (a * 5))
            return stream.distinct(fn, last=b or None, volatile=True, **_how(op, number))
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
            return stream.map(number).key_by(_key).reduce(fn, volatile=True, **_how(op, number))
        case "keyed":
            fn = _pair_function(op, world)
            return stream.key_by(_key).scan(fn, factory=int, volatile=True, **_how(op, number))
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


def _parts(stream: Stream[Any], kind: str, op: Op, world: World) -> list[Stream[Any]]:
    if kind == "share":
        return [stream, stream]
    if kind == "split":
        fn = _function(op, world, lambda event: number(event) % (op.a + 1) == op.b)
        return list(stream.split(fn, **_how(op, lambda event: True)))
    fn = _function(op, world, lambda event: "abcdef"[number(event) % (op.a + 1)])
    routes = stream.route(fn, "a", "b", **_how(op, lambda event: "b"))
    return [routes["a"], routes["b"], routes.other]


def _build(plan: Plan, world: World) -> list[Any]:
    streams = [_source(given, world) for given in plan.sources]
    for step in plan.steps:
        at = step.at[0]
        if step.kind == "op":
            assert step.op is not None
            streams[at] = _apply(streams[at], step.op, world)
        elif len(step.at) == 1:
            assert step.op is not None
            streams[at : at + 1] = _parts(streams[at], step.kind, step.op, world)
        else:
            joined = [streams[n] for n in step.at]
            if step.kind.startswith("buffered"):
                joined = [stream.buffer(HUGE) for stream in joined]
            streams[at] = getattr(joined[0], step.kind.split()[-1])(joined[1])
            del streams[step.at[1]]
    return [
        _sink(stream, sink, n, world)
        for n, (stream, sink) in enumerate(zip(streams, plan.sinks, strict=True))
    ]


def _sink(stream: Stream[Any], op: Op, n: int, world: World) -> Any:
    seen = Seen()
    world.seen.append(seen)

    def instead(event: Any) -> None:
        seen.events.append(event)

    world.stands_in[instead] = number
    how = _how(op, instead)
    if op.verb == "discard":
        seen.counted = False
        return stream.discard()
    if op.verb == "object":

        def take(events: Sequence[Any]) -> None:
            for event in events:  # all or nothing
                if op.fails is not None:
                    op.fails.check(event)
            seen.events.extend(events)

        seen.stored = 0
        sink = Kept(f"sink {n}", op, take, seen, world)
        world.sinks.append(sink)
        if op.fails is not None:
            world.stands_in[sink] = op.fails.check
        how.pop("concurrency", None)
        how.pop("ordered", None)
        how.pop("key", None)
        return stream.to(sink, **how)
    if op.verb == "function":
        op = replace(op, pool=None)
        how = _how(op, instead)
    fn = _function(op, world, seen.events.append)
    if op.fails is not None:
        world.stands_in[fn] = op.fails.check
    else:
        del world.stands_in[fn]
    return stream.to(fn, **how)


def count(events: Sequence[Any]) -> Counter[str]:
    """Events as a multiset, whether they can be hashed or not."""
    return Counter(map(repr, events))
