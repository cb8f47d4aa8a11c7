"""A random graph, built, with all that a test looks at: sources, sinks, what came and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel

from reactor import Closed, DeadLetter, Full, Inlet, Pipeline, Record, Run, Sink, Source, Stream
from reactor.graph import Node
from reactor.testing import Outcome, interpret
from tests.engine.graphs import HUGE, PATIENCE, Broken, Crash, Given, Op, Plan, number
from tests.engine.verbs import apply, function, keywords, parts


class Replayed(Source[int]):
    """A source with positions: a run begins where the last one has committed."""

    replay = True

    def __init__(self, given: Given, world: World) -> None:
        self.given = given
        self.world = world
        self.name = f"source {given.start}"
        self.committed = 0
        self.at = 0
        self.reads = 0
        self.opened = self.closed = self.committing = 0

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
        self.committing += 1
        try:
            await anyio.lowlevel.checkpoint()
            self.committed = position
        finally:
            self.committing -= 1

    async def close(self) -> None:
        assert self.opened, "what wasn't opened needs no close"
        assert not self.committing
        self.closed += 1
        await anyio.lowlevel.checkpoint()


class Kept(Sink[Any]):
    """A sink that is an object, and notes what is done to it."""

    def __init__(
        self, name: str, op: Op, take: Callable[[Sequence[Any]], None], seen: Seen, world: World
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
        self.origins: list[Node] = []
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
        ends = _ends(plan, self)
        self.letterbox = _letterbox(plan.letters, self)
        self.pipeline = Pipeline("random", *ends, dead_letters=self.letterbox, **settings)

    def tick(self, op: Op) -> None:
        """A function or a sink is called."""
        self.calls += 1
        if self.crash_at is not None and self.calls >= self.crash_at and op.policy == "fail":
            raise Crash(self.calls)

    def stream(self) -> Stream[Any]:
        """The only stream of the plan, without its end."""
        (stream,) = _streams(self.plan, self)
        return stream

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

    async def execute(self, during: During | None = None, feed: Feeding | None = None) -> None:
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

    def read(self) -> list[int]:
        """How many events each source has given."""
        assert self.run is not None
        given = {stage.plan.head: stage.events_in for stage in self.run._execution.stages}
        return [given[origin] for origin in self.origins]

    def check_closed(self) -> None:
        """Whatever has been opened is closed, once."""
        ends: list[Kept | Replayed] = [*self.sinks, *self.replayed]
        if isinstance(self.letterbox, Kept):
            ends.append(self.letterbox)
        for end in ends:
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


def _letterbox(kind: str, world: World) -> Any:
    if kind == "function":
        return world.letters.append
    if kind == "sink":
        return Kept("letters", Op("letters"), world.letters.extend, Seen(), world)

    async def keep(letter: DeadLetter) -> None:
        await anyio.lowlevel.checkpoint()
        world.letters.append(letter)

    return keep


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


def _streams(plan: Plan, world: World) -> list[Stream[Any]]:
    streams = [_source(given, world) for given in plan.sources]
    world.origins = [stream._port.node for stream in streams]
    for step in plan.steps:
        at = step.at[0]
        if step.kind == "op":
            assert step.op is not None
            streams[at] = apply(streams[at], step.op, world)
        elif len(step.at) == 1:
            assert step.op is not None
            streams[at : at + 1] = parts(streams[at], step.kind, step.op, world)
        else:
            joined = [streams[n] for n in step.at]
            if step.kind.startswith("buffered"):
                joined = [stream.buffer(HUGE) for stream in joined]
            verb = step.kind.split()[-1]
            settings = {"volatile": True} if verb == "zip" else {}
            streams[at] = getattr(joined[0], verb)(joined[1], **settings)
            del streams[step.at[1]]
    return streams


def _ends(plan: Plan, world: World) -> list[Any]:
    pairs = zip(_streams(plan, world), plan.sinks, strict=True)
    return [_sink(stream, sink, n, world) for n, (stream, sink) in enumerate(pairs)]


def _sink(stream: Stream[Any], op: Op, n: int, world: World) -> Any:
    seen = Seen()
    world.seen.append(seen)

    def instead(event: Any) -> None:
        seen.events.append(event)

    world.stands_in[instead] = number
    how = keywords(op, instead)
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
        how = keywords(op, instead)
    fn = function(op, world, seen.events.append)
    if op.fails is not None:
        world.stands_in[fn] = op.fails.check
    else:
        del world.stands_in[fn]
    return stream.to(fn, **how)


def count(events: Sequence[Any]) -> Counter[str]:
    """Events as a multiset, whether they can be hashed or not."""
    return Counter(map(repr, events))
