"""However a run ends: what was opened is closed once, positions are never ahead of the sinks."""

from dataclasses import dataclass, replace

import anyio
import anyio.lowlevel
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reactor import Closed, Inlet, Run
from tests.engine.graphs import (
    TIME,
    Broken,
    Choice,
    Given,
    Op,
    Plan,
    Step,
    examples,
    givens,
    operators,
    plans,
    sizes,
)
from tests.engine.worlds import World, count

pytestmark = [pytest.mark.anyio, TIME]

HOLDING = Choice(
    verbs=("tap", "filter", "buffer", "rate_limit", "limit_by_key", "timed", "again"),
    kinds=("op", "op", "op", "share", "split", "route", "merge", "concat"),
    sources=("source",),
    most_sources=2,
    policies=("skip", "letters"),
    sinks=("function", "async", "object"),
    slow=True,
    steps=(2, 8),
)
"""Graphs over sources with positions in which every event goes its way whatever else there is, late perhaps."""

PROMPT = replace(HOLDING, verbs=("tap", "filter", "buffer", "rate_limit", "limit_by_key"))
"""The same without batches, which a drain drops to have them read again."""


TAKING = replace(
    HOLDING, verbs=(*HOLDING.verbs, "take", "take_while"), kinds=(*HOLDING.kinds, "share", "share")
)
"""The same with takes, which want no more at some point while other branches go on."""

FLUSHED = replace(HOLDING, sources=("range", "iterator", "generator", "async", "inlet"), most_sources=3)
"""Sources that can't be read again: what a drain finds on its way is flushed."""


@dataclass(frozen=True)
class Stop:
    """How a run is ended before its time: after so many turns of the loop, or at a call of a function."""

    how: str
    after: int

    async def __call__(self, run: Run) -> None:
        if self.how == "crash":
            return
        for _ in range(self.after):
            await anyio.lowlevel.checkpoint()
        if self.how == "drain":
            await run.drain()
        elif self.how == "cancel":
            run.cancel()


stops = st.builds(Stop, st.sampled_from(["drain", "cancel", "crash"]), st.sampled_from(range(1, 100)))


async def stopped(world: World, stop: Stop) -> None:
    world.crash_at = stop.after if stop.how == "crash" else None
    await world.execute(stop)


@examples()
@given(plan=plans(Choice(policies=("fail", "skip", "letters"), broken_sources=True)), stop=stops)
async def test_everything_is_closed_once_however_the_run_ends(plan: Plan, stop: Stop) -> None:
    world = World(plan)
    await stopped(world, stop)
    assert world.state in ("complete", "failed", "cancelled")
    world.check_closed()


@examples()
@given(
    plan=plans(Choice(sinks=("object", "object", "function"), steps=(0, 4))),
    places=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["open", "flush", "close"])), min_size=1),
)
async def test_everything_is_closed_once_where_opening_flushing_or_closing_fails(
    plan: Plan, places: list[tuple[int, str]]
) -> None:
    world = World(plan)
    assume(world.sinks)
    for n, what in places:
        place = f"{world.sinks[n % len(world.sinks)].name}.{what}"
        world.broken[place] = Broken(place)
    await world.execute()
    assert world.error is not None
    assert world.state == "failed"
    world.check_closed()


# Positions -------------------------------------------------------------------------------------------------


def place(event: int) -> tuple[str, int]:
    """The source that an event comes from, and its position there."""
    return f"source {event // 1000 * 1000}", event % 1000


def missed(plan: Plan, worlds: list[World], committed: dict[str, int]) -> list[str]:
    """The events before the committed positions that some end, or the dead letters, should have and don't."""
    expected = World(plan).outcome()
    faults = []
    for n, arrived in enumerate(expected.ends):
        if plan.cut[n]:
            continue  # a take has had enough there
        safe = {event for world in worlds for event in world.seen[n].safe}
        faults += [f"{event} at end {n}" for event in arrived.events if event not in safe]
    buried = {letter.event for world in worlds for letter in world.letters}
    faults += [
        f"{letter.event} in letters"
        for letter in expected.letters
        if letter.certain and letter.event not in buried
    ]
    return [
        fault
        for fault in faults
        if place(int(fault.split()[0]))[1] < committed[place(int(fault.split()[0]))[0]]
    ]


def restarted(plan: Plan, world: World) -> World:
    """The next run: its sources go on where the last one has committed."""
    after = World(plan, interval=0.00001)
    for old, new in zip(world.replayed, after.replayed, strict=True):
        new.committed = old.committed
    return after


def committed_in(world: World) -> dict[str, int]:
    return {source.name: source.committed for source in world.replayed}


@examples(0.6)
@given(plan=plans(HOLDING), ends=st.lists(stops, min_size=1, max_size=2))
async def test_every_event_reaches_the_sinks_through_crashes_drains_and_cancellations(
    plan: Plan, ends: list[Stop]
) -> None:
    worlds = [World(plan, interval=0.00001)]
    for stop in ends:
        await stopped(worlds[-1], stop)
        worlds[-1].check_closed()
        ahead = missed(plan, worlds, committed_in(worlds[-1]))
        assert ahead == [], f"committed {committed_in(worlds[-1])}, but missed are {ahead}"
        worlds.append(restarted(plan, worlds[-1]))
    await worlds[-1].execute()
    assert worlds[-1].error is None
    for source in worlds[-1].replayed:
        assert source.committed == source.given.count
    assert missed(plan, worlds, committed_in(worlds[-1])) == []
    for n, arrived in enumerate(World(plan).outcome().ends):
        assert {event for world in worlds for event in world.seen[n].events} <= set(arrived.events)


@examples(0.6)
@given(plan=plans(TAKING), stop=stops)
async def test_a_take_on_one_branch_loses_nothing_on_another(plan: Plan, stop: Stop) -> None:
    worlds = [World(plan, interval=0.00001)]
    await stopped(worlds[-1], stop)
    assert missed(plan, worlds, committed_in(worlds[-1])) == []
    worlds.append(restarted(plan, worlds[-1]))
    await worlds[-1].execute()
    assert worlds[-1].error is None
    assert missed(plan, worlds, committed_in(worlds[-1])) == []


@examples(0.6)
@given(plan=plans(PROMPT), ends=st.lists(st.sampled_from(range(100)), min_size=1, max_size=3))
async def test_with_drains_alone_every_event_reaches_the_sinks_exactly_once(
    plan: Plan, ends: list[int]
) -> None:
    worlds = [World(plan, interval=0.00001)]
    for after in ends:
        await worlds[-1].execute(Stop("drain", after))
        assert worlds[-1].error is None
        worlds.append(restarted(plan, worlds[-1]))
    await worlds[-1].execute()
    assert worlds[-1].error is None
    expected = World(plan).outcome()
    for n, arrived in enumerate(expected.ends):
        assert count([event for world in worlds for event in world.seen[n].safe]) == count(arrived.events)
    letters = [letter.event for world in worlds for letter in world.letters]
    assert count(letters) == count([letter.event for letter in expected.letters])


@examples(0.6)
@given(plan=plans(FLUSHED), after=st.sampled_from(range(100)))
async def test_a_drain_brings_everything_that_was_read_to_the_sinks(plan: Plan, after: int) -> None:
    world = World(plan)
    await world.execute(Stop("drain", after))
    assert world.error is None
    assert world.run is not None
    assert world.run.metrics().in_flight == 0
    # It has to come to the same as where there was nothing else to read.
    given = tuple(replace(source, count=n) for source, n in zip(plan.sources, world.read(), strict=True))
    for seen, arrived in zip(world.seen, World(replace(plan, sources=given)).outcome().ends, strict=True):
        assert count(seen.safe) == count(arrived.events)
    world.check_closed()


@st.composite
def takes(draw: st.DrawFn) -> tuple[Plan, int]:
    """A source, operators that keep or drop events, take(n), and more operators."""
    choice = replace(HOLDING, unordered=False)
    source = draw(givens(choice, 0))
    early = st.sampled_from(["tap", "filter", "buffer"])
    before = draw(st.lists(early.flatmap(lambda verb: operators(choice, verb)), max_size=3))
    take = Op("take", draw(st.integers(1, 5)), draw(st.integers(0, 4)))
    verbs = st.sampled_from(["tap", "filter", "buffer", "timed", "again"])
    after = draw(st.lists(verbs.flatmap(lambda verb: operators(choice, verb)), max_size=3))
    steps = tuple(Step("op", (0,), op) for op in (*before, take, *after))
    sink = replace(draw(operators(choice, "to")), verb=draw(st.sampled_from(["function", "object"])))
    return Plan((source,), steps, (sink,), draw(sizes), draw(sizes)), len(before)


@examples()
@given(drawn=takes())
async def test_a_take_commits_what_it_has_consumed_and_no_more(drawn: tuple[Plan, int]) -> None:
    plan, before = drawn
    world = World(plan, interval=0.00001)
    await world.execute()
    assert world.error is None
    (source,) = world.replayed
    take = plan.steps[before].op
    assert take is not None
    wanted = take.a * 3 + take.b - 3
    until_take = replace(plan, steps=plan.steps[:before], sinks=(Op("function"),))
    came = World(until_take).outcome().events
    if wanted == 0:  # what was dropped on the way to it may be committed, nothing else
        assert source.committed <= (came[0] if came else source.given.count)
    elif len(came) >= wanted:
        assert source.committed == came[wanted - 1] + 1
    else:
        assert source.committed == source.given.count


# Deliveries ------------------------------------------------------------------------------------------------

DELIVERED = replace(
    HOLDING,
    verbs=("tap", "filter", "buffer", "rate_limit", "timed"),
    sources=("inlet",),
    most_sources=3,
    join_parts=False,
)


@examples()
@given(plan=plans(DELIVERED), crash_at=st.one_of(st.none(), st.integers(1, 40)), at_once=st.integers(1, 3))
async def test_deliver_returns_once_all_sinks_have_the_event(
    plan: Plan, crash_at: int | None, at_once: int
) -> None:
    world = World(plan, interval=0.00001)
    world.crash_at = crash_at
    expected = world.outcome()

    async def deliver(inlet: Inlet[int], events: list[int]) -> None:
        for event in events:
            await inlet.deliver(event)
            for seen, arrived in zip(world.seen, expected.ends, strict=True):
                assert event not in arrived.events or event in seen.safe
            buried = [letter.event for letter in expected.letters]
            assert event not in buried or event in [letter.event for letter in world.letters]

    async def feed(inlet: Inlet[int], given: Given) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for n in range(at_once):
                    tasks.start_soon(deliver, inlet, list(given.events)[n::at_once])
            inlet.close()
        except* Closed:
            assert crash_at is not None

    await world.execute(feed=feed)
    assert crash_at is not None or world.error is None
    world.check_closed()
