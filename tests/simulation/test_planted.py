"""The kit finds what has been planted: sinks, stores, sources and pipelines that don't do what they have to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reactor import Pipeline, Sink, Source, Stream
from reactor.testing import Decision, SimulationFailed, World, run_simulation, simulate
from reactor.testing.simulation import SimulatedSource, SimulatedStore, SimulatedTable

SEEDS = range(60)
EVENTS = 40


def sums(stream: Stream[int]) -> Stream[Any]:
    return stream.key_by(lambda n: n % 3).scan(lambda a, b: a + b, 0, name="sums")


def pipeline(
    world: World, *, source: Source[Any] | None = None, sink: Sink[Any] | None = None, store: Any = None
) -> Pipeline:
    stream: Stream[int] = Stream(world.source("numbers", range(EVENTS)) if source is None else source)
    return Pipeline(
        "sums",
        sums(stream).to(world.table("out", key=lambda row: row[0]) if sink is None else sink),
        checkpoint=world.checkpoints(store),
        guarantee="exactly-once",
        capacity=world.vary("capacity", (1024, 1, 4)),
    )


class PublishesAtOnce(SimulatedTable[Any]):
    """What is prepared can be seen by everybody, decided or not."""

    async def prepare(self, number: int) -> None:
        await super().prepare(number)
        await super().publish(number)


class ForgetsTheDecided(SimulatedTable[Any]):
    """What was decided, and not published before the process died, is dropped."""

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        await super().recover(owner, 0, fence)


class LetsAnybodyWrite(SimulatedTable[Any]):
    """It doesn't look at the fence."""

    def check(self) -> None:
        pass


class WritesAtOnce(SimulatedTable[Any]):
    """It doesn't stage."""

    async def write(self, events: Sequence[Any]) -> None:
        await self.process.call(f"{self.name}.write", lambda: self.kept.rows.extend(events), frozenset())


class SavesForAnybody(SimulatedStore):
    """It doesn't look at the fence."""

    def check(self, fence: int) -> None:
        pass


class ForgetsRows(SimulatedStore):
    """It keeps the positions, and not what the operators remember."""

    async def save(self, pipeline: str, fence: int, checkpoint: Any, changes: Sequence[Any]) -> None:
        await super().save(pipeline, fence, checkpoint, [])


class CommitsEarly(SimulatedSource[int]):
    """Each read commits what it gives."""

    async def read(self, limit: int) -> Any:
        records = await super().read(limit)
        if records:
            await self.commit(self.position())
        return records


class DoesNotSeek(SimulatedSource[int]):
    """It goes on where it was committed, whatever the checkpoint says."""

    async def seek(self, position: int) -> None:
        pass


def with_sink(kind: type[SimulatedTable[Any]]) -> Callable[[World], Pipeline]:
    return lambda world: pipeline(world, sink=kind(world.process, "out", None))


def with_store(kind: type[SimulatedStore]) -> Callable[[World], Pipeline]:
    return lambda world: pipeline(world, store=kind(world.process, "checkpoints"))


def with_source(kind: type[SimulatedSource[int]]) -> Callable[[World], Pipeline]:
    return lambda world: pipeline(world, source=kind(world.process, "numbers", range(EVENTS), 0.003))


def forgetful(world: World) -> Pipeline:
    """A function remembers what no checkpoint saves."""
    total = 0

    def add(n: int) -> int:
        nonlocal total
        total += n
        return total

    stream = Stream(world.source("numbers", range(EVENTS))).map(add)
    return Pipeline(
        "p", stream.to(world.table("out")), checkpoint=world.checkpoints(), guarantee="exactly-once"
    )


def on_its_own(world: World) -> Pipeline:
    """Without checkpoints, a sink that is flushed and doesn't mind."""

    class Loses(Sink[int]):
        def __init__(self) -> None:
            self.buffered: list[int] = []

        async def write(self, events: Sequence[int]) -> None:
            self.buffered += events

        async def close(self) -> None:  # too late: flush is the call that has to store
            await world.call("loses.close", lambda: rows.extend(self.buffered))

    rows = world.rows("out")
    return Pipeline("p", Stream(world.source("numbers", range(EVENTS))).to(Loses()), interval=0.01)


def disordered(world: World) -> Pipeline:
    """The rows of a key come in the order of their calls' returns."""

    async def slow(n: int) -> int:
        await world.call("service")
        return n

    stream = Stream(world.source("numbers", range(EVENTS))).map(slow, concurrency=4, ordered=False)
    return Pipeline(
        "p",
        stream.to(world.table("out", key=lambda n: n % 2)),
        checkpoint=world.checkpoints(),
        guarantee="exactly-once",
    )


PLANTED: dict[str, Callable[[World], Pipeline]] = {
    "publishes at prepare": with_sink(PublishesAtOnce),
    "drops what was decided": with_sink(ForgetsTheDecided),
    "a sink without a fence": with_sink(LetsAnybodyWrite),
    "doesn't stage": with_sink(WritesAtOnce),
    "a store without a fence": with_store(SavesForAnybody),
    "a store that forgets rows": with_store(ForgetsRows),
    "commits early": with_source(CommitsEarly),
    "doesn't seek": with_source(DoesNotSeek),
    "state outside of checkpoints": forgetful,
    "stores at close": on_its_own,
    "out of order": disordered,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_bug_is_found(planted: str) -> None:
    with pytest.raises(SimulationFailed) as caught:
        simulate(PLANTED[planted], SEEDS, attempts=60)
    failed = caught.value
    again = run_simulation(
        PLANTED[planted], failed.simulated.seed, events=failed.events, decisions=failed.simulated.decisions
    )
    assert again.wrong == failed.simulated.wrong
    assert again.trace == failed.simulated.trace
    assert f"run_simulation(build, {again.seed}" in str(failed)


def test_without_a_bug_nothing_is_found() -> None:
    seen: list[int] = []
    simulate(pipeline, SEEDS, progress=lambda each: seen.append(each.processes))
    assert len(seen) == len(SEEDS)
    assert max(seen) > 5


def test_what_failed_is_shrunk() -> None:
    with pytest.raises(SimulationFailed) as caught:
        simulate(PLANTED["publishes at prepare"], SEEDS)
    failed = caught.value
    assert len(failed.simulated.decisions) <= 3
    assert failed.events is not None
    assert failed.events <= 3
    assert all(isinstance(each, Decision) for each in failed.simulated.decisions)
    assert "table 'out' has what it shouldn't" in str(failed)
