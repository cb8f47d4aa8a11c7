"""Watermarks and barriers: every stage forwards them in their place, and aligns those of several inputs."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from reactor import Inlet, RateLimit, Stream
from reactor.engine import Execution
from reactor.engine.elements import Barrier, Mark, Watermark
from reactor.engine.reading import FeedStage
from reactor.graph import Graph
from tests.engine.scripted import PATIENCE, Gate, Probe, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


class Bench:
    """A pipeline over inlets, run so that a test can put marks between the events and see them at the sink."""

    def __init__(self, build: Callable[..., Stream[Any]], inputs: int = 1) -> None:
        self.inlets = [Inlet[Any]() for _ in range(inputs)]
        streams = [Stream(inlet) for inlet in self.inlets]
        self.sink = Probe[Any]()
        self.run = Execution(Graph("p", (build(*streams).to(self.sink).node,), interval=3600))
        self.seen: list[Any] = []
        """Events and marks in the order in which the sink's stage had them."""
        last = self.run.stages[-1]
        forward = last.mark

        def note(mark: Mark) -> None:
            self.seen += [*self._new(), mark]
            forward(mark)

        last.mark = note  # type: ignore[method-assign]
        self._sources = {stage.source: stage for stage in self.run.stages if isinstance(stage, FeedStage)}

    def _new(self) -> list[Any]:
        known = sum(not isinstance(item, Barrier | Watermark) for item in self.seen)
        return self.sink.events[known:]

    async def send(self, *items: Any, to: int = 0) -> None:
        """Events and marks into one input, each settled before the next."""
        inlet = self.inlets[to]
        for item in items:
            if isinstance(item, Barrier | Watermark):
                self._sources[inlet].mark(item)
            else:
                await inlet.send(item)
            await settle()

    async def __aenter__(self) -> "Bench":
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self.run.execute)
        await self.run.opened.wait()
        await settle()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        for inlet in self.inlets:
            inlet.close()
        self._tasks.cancel_scope.deadline = anyio.current_time() + PATIENCE
        await self._tasks.__aexit__(*failure)
        assert self.run.state == "complete"
        self.seen += self._new()


STAGES: dict[str, Callable[[Stream[Any]], Stream[Any]]] = {
    "nothing": lambda s: s,
    "fused": lambda s: s.map(lambda n: n).filter(lambda n: True),
    "buffer": lambda s: s.buffer(3),
    "async map": lambda s: s.map(plus_one, concurrency=3).map(lambda n: n - 1),
    "unordered": lambda s: s.map(plus_one, concurrency=3, ordered=False).map(lambda n: n - 1),
    "by key": lambda s: s.map(plus_one, concurrency=3, key=lambda n: n % 2).map(lambda n: n - 1),
    "rate_limit": lambda s: s.rate_limit(RateLimit(1e6, burst=100)),
    "rate_limit by key": lambda s: s.rate_limit(RateLimit(1e6, burst=100), key=lambda n: n % 2),
    "timed batches of one": lambda s: s.batch(1, max_wait=60).flat_map(lambda part: part),
    "batches of one": lambda s: s.batch(1).flat_map(lambda part: part),
    "merge with an ended one": lambda s: s.merge(Stream([])),
    "interleave with an ended one": lambda s: s.interleave(Stream([])),
    "combine_latest": lambda s: s.combine_latest(Stream([0])).map(lambda both: both[0]),
    "with_latest": lambda s: s.with_latest(Stream([0])).map(lambda both: both[0]),
    "switch_map": lambda s: s.switch_map(lambda n: [n]),
    "streams": lambda s: s.flat_map(lambda n: Stream([n]), concurrency=1),
    "streams in order": lambda s: s.flat_map(lambda n: Stream([n]), concurrency=3),
    "streams as they come": lambda s: s.flat_map(lambda n: Stream([n]), concurrency=3, ordered=False),
    "concat behind an ended one": lambda s: Stream([]).concat(s),
    "diamond": lambda s: s.filter(lambda n: True).merge(s.filter(lambda n: False)),
    "split": lambda s: (lambda parts: parts[0].merge(parts[1]))(s.split(lambda n: n % 2)),
}


@pytest.mark.parametrize("what", STAGES)
@pytest.mark.parametrize("kind", [Watermark, Barrier])
async def test_a_mark_keeps_its_place_between_the_events(what: str, kind: Callable[[int], Any]) -> None:
    async with Bench(STAGES[what]) as bench:
        await bench.send(1, kind(10), 2, 3, kind(20), kind(30), 4)
    assert bench.seen == [1, kind(10), 2, 3, kind(20), kind(30), 4]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_mark_waits_behind_the_calls_that_came_before_it(ordered: bool) -> None:
    gates: dict[int, Gate] = {}

    async def call(n: int) -> int:
        gate = gates.setdefault(n, Gate())
        await gate()
        return n

    async with Bench(lambda s: s.map(call, concurrency=4, ordered=ordered)) as bench:
        await bench.send(1, 2, Barrier(1), 3)
        gates[2].open()
        gates[3].open()
        await settle()
        assert Barrier(1) not in bench.seen
        gates[1].open()
        await settle()
        assert Barrier(1) in bench.seen
        at = bench.seen.index(Barrier(1))
        assert {1, 2} <= set(bench.seen[:at])


@pytest.mark.parametrize("max_wait", [None, 3600])
async def test_a_mark_waits_behind_a_batch_that_is_not_full(max_wait: float | None) -> None:
    async with Bench(lambda s: s.batch(2, max_wait=max_wait)) as bench:
        await bench.send(1, Barrier(1))
        assert bench.seen == []
        await bench.send(2)
        assert bench.seen == [[1, 2], Barrier(1)]
        await bench.send(Barrier(2))
        assert bench.seen == [[1, 2], Barrier(1), Barrier(2)]


async def test_a_mark_waits_behind_two_batches_that_are_not_full() -> None:
    async with Bench(lambda s: s.batch(2).batch(2)) as bench:
        await bench.send(1, 2, 3, Barrier(1))
        assert bench.seen == []
        await bench.send(4)
        assert bench.seen == [[[1, 2], [3, 4]], Barrier(1)]


async def test_a_mark_waits_behind_an_event_that_waits_for_tokens() -> None:
    limit = RateLimit(0.001)
    async with Bench(lambda s: s.rate_limit(limit, key=lambda n: n % 2)) as bench:
        await bench.send(1, 3, Barrier(1), 2)
        assert bench.seen == []
        assert bench.sink.events == [1, 2]
        limit.rate = 1e6
        while Barrier(1) not in bench.seen:
            await anyio.lowlevel.checkpoint()
        assert set(bench.seen[: bench.seen.index(Barrier(1))]) == {1, 2, 3}


@pytest.mark.parametrize("join", ["merge", "zip", "interleave", "combine_latest", "with_latest"])
async def test_a_barrier_passes_a_join_when_all_inputs_have_brought_it(join: str) -> None:
    async with Bench(lambda a, b: getattr(a, join)(b), inputs=2) as bench:
        await bench.send(1, Barrier(1), to=0)
        assert Barrier(1) not in bench.seen
        await bench.send(2, Barrier(1), to=1)
        assert bench.seen.count(Barrier(1)) == 1
        assert bench.seen[-1] == Barrier(1)


async def test_the_watermark_of_a_merge_is_the_lowest_of_its_inputs_and_never_falls() -> None:
    async with Bench(lambda a, b: a.merge(b), inputs=2) as bench:
        await bench.send(Watermark(10), to=0)
        assert bench.seen == []
        await bench.send(Watermark(5), to=1)
        assert bench.seen == [Watermark(5)]
        await bench.send(Watermark(7), to=1)
        assert bench.seen == [Watermark(5), Watermark(7)]
        await bench.send(Watermark(20), to=1)
        assert bench.seen == [Watermark(5), Watermark(7), Watermark(10)]
        await bench.send(Watermark(9), to=0)
        assert bench.seen == [Watermark(5), Watermark(7), Watermark(10)]


async def test_an_input_that_has_ended_holds_no_mark_back() -> None:
    async with Bench(lambda a, b: a.merge(b), inputs=2) as bench:
        await bench.send(Watermark(10), Barrier(1), to=0)
        assert bench.seen == []
        bench.inlets[1].close()
        await settle()
        assert sorted(bench.seen, key=repr) == [Barrier(1), Watermark(10)]


async def test_every_branch_of_a_split_has_every_mark() -> None:
    def build(s: Stream[Any]) -> Stream[Any]:
        yes, no = s.split(lambda n: n > 0)
        return yes.zip(no)

    async with Bench(build) as bench:
        await bench.send(Barrier(1))
        assert bench.seen == [Barrier(1)]
        await bench.send(1, Barrier(2))
        assert bench.seen == [Barrier(1)]  # the zip holds 1
        await bench.send(-1)
        assert bench.seen == [Barrier(1), (1, -1), Barrier(2)]


async def test_a_barrier_is_followed_by_a_flush_at_the_sink_and_acknowledged() -> None:
    async with Bench(lambda s: s) as bench:
        await bench.send(1, Barrier(1))
        assert bench.sink.calls == ["open", "write", "flush"]
        await bench.send(2, Watermark(5))
        assert bench.sink.calls == ["open", "write", "flush", "write"]
