"""The engine against the reference interpreter, on random graphs: results, losses, failures, bounds."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reactor import Record
from reactor.engine.failures import short
from reactor.testing import Outcome
from tests.engine.graphs import LINEAR, PATIENCE, TIME, Choice, Op, Plan, examples, number, plans, sizes
from tests.engine.worlds import World, count

pytestmark = [pytest.mark.anyio, TIME]

RECOVERING = ("skip", "letters", "fallback")
PASSING = Choice(
    verbs=("tap", "buffer", "rate_limit", "timed", "again"),
    kinds=("op", "op", "op", "split", "route", "merge", "concat"),
    policies=("skip", "letters"),
    sinks=("function", "async", "object"),
)
"""Graphs in which every event goes one way to its end, unchanged."""


def same_as_interpreted(world: World, outcome: Outcome) -> None:
    """Everything that arrives is what the reference interpreter says."""
    assert world.error is None
    assert world.state == "complete"
    for seen, arrived in zip(world.seen, outcome.ends, strict=True):
        if seen.counted:
            assert arrived.matches(seen.events), f"{seen.events} is not {arrived.lanes}"


def letters_of(world: World) -> Counter[str]:
    return count([(letter.operator, letter.event, letter.attempts) for letter in world.letters])


def expected_letters(outcome: Outcome, *, certain: bool = False) -> Counter[str]:
    letters = [letter for letter in outcome.letters if letter.certain or not certain]
    return count([(letter.operator, letter.event, letter.attempts) for letter in letters])


def skipped_in(world: World) -> Counter[str]:
    assert world.run is not None
    skipped: Counter[str] = Counter()
    for stage in world.run.metrics().stages:
        for reason, n in stage.dropped.items():
            if reason.endswith(": skipped"):
                skipped[reason.removesuffix(": skipped")] += n
    return skipped


@examples()
@given(plan=plans(LINEAR))
async def test_a_chain_of_operators_gives_what_the_interpreter_says(plan: Plan) -> None:
    world = World(plan)
    await world.execute()
    same_as_interpreted(world, world.outcome())
    world.check_closed()


@examples()
@given(plan=plans())
async def test_a_graph_gives_what_the_interpreter_says(plan: Plan) -> None:
    world = World(plan)
    await world.execute()
    same_as_interpreted(world, world.outcome())
    world.check_closed()


@examples()
@given(plan=plans(Choice(policies=RECOVERING)))
async def test_failing_functions_are_skipped_buried_or_replaced_as_the_interpreter_says(plan: Plan) -> None:
    world = World(plan)
    outcome = world.outcome()
    assume(outcome.letters or outcome.skipped)
    await world.execute()
    same_as_interpreted(world, outcome)
    assert letters_of(world) <= expected_letters(outcome)
    assert letters_of(world) >= expected_letters(outcome, certain=True)
    assert skipped_in(world) <= Counter(outcome.skipped)
    world.check_closed()


@examples(0.5)
@given(plan=plans(Choice(policies=RECOVERING)), capacity=sizes, chunk=sizes, cut=st.integers(1, 4))
async def test_results_do_not_depend_on_cutting_capacity_or_chunk(
    plan: Plan, capacity: int, chunk: int, cut: int
) -> None:
    one = World(plan)
    sources = tuple(replace(source, cuts=(cut,), waits=(0,)) for source in plan.sources)
    two = World(replace(plan, sources=sources), capacity=capacity, chunk=chunk)
    await one.execute()
    await two.execute()
    assert one.error is two.error is None
    for first, second, arrived in zip(one.seen, two.seen, one.outcome().ends, strict=True):
        if len(arrived.lanes) <= 1:
            assert first.events == second.events
        else:
            assert count(first.events) == count(second.events)


@examples()
@given(plan=plans(PASSING))
async def test_nothing_is_lost_and_nothing_comes_twice(plan: Plan) -> None:
    world = World(plan)
    await world.execute()
    assert world.error is None
    arrived = Counter(event for seen in world.seen for event in seen.events)
    buried = Counter(letter.event for letter in world.letters)
    given = Counter(event for source in plan.sources for event in source.events)
    assert arrived + buried <= given
    assert (arrived + buried).total() + skipped_in(world).total() == given.total()
    for letter in world.letters:
        assert letter.event in list(origins(letter.origin)), "a letter knows what its event came from"


def origins(origin: Any) -> Iterator[Any]:
    """The events that a dead letter's origin consists of."""
    if isinstance(origin, tuple):  # of a batch
        for one in origin:
            yield from origins(one)
    else:
        yield origin.value if isinstance(origin, Record) else origin


@examples(0.5)
@given(plan=plans(replace(LINEAR, policies=("skip", "fallback"))), most=st.integers(0, 10))
async def test_a_stream_gives_the_same_in_place(plan: Plan, most: int) -> None:
    plan = replace(plan, sinks=(Op("function"),))
    outcome = World(plan).outcome()
    plan = replace(plan, sources=tuple(replace(source, kind="async") for source in plan.sources))
    world = World(plan)
    stream = world.stream()
    (end,) = outcome.ends
    with anyio.fail_after(PATIENCE):
        assert end.matches(await stream.collect())
        assert await stream.count() == len(end.events)
        assert await stream.fold(lambda n, event: n + number(event), 0) == sum(map(number, end.events))
        if len(end.lanes) < 2:
            assert await stream.first(None) == (end.events[0] if end.events else None)
            assert await stream.last(None) == (end.events[-1] if end.events else None)
        async with stream.open(capacity=plan.capacity) as events:
            seen: list[Any] = []
            while len(seen) < most:
                try:
                    seen.append(await anext(events))
                except StopAsyncIteration:
                    assert end.matches(seen)
                    break
        assert end.begins(seen)
    world.check_closed()


def told(error: BaseException) -> list[BaseException]:
    """The failures that an error consists of."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in told(one)]
    return [error]


def is_one_of(error: BaseException, outcome: Outcome) -> bool:
    """Is it a failure that the interpreter has foreseen, and does it say where?"""
    for failure in outcome.failures:
        same = type(error) is type(failure.exception) and error.args == failure.exception.args
        where = f"in pipeline 'random', operator {failure.operator}"
        for note in getattr(error, "__notes__", ()):
            if same and (note == where or note.startswith(f"{where}, event ")):
                event = note.partition(", event ")[2]
                if not event or event == short(failure.event) or failure.operator.startswith("to(sink"):
                    return True
    return False


@examples()
@given(plan=plans(Choice(policies=("fail", *RECOVERING), broken_sources=True)))
async def test_a_failure_is_raised_as_it_is_and_says_where(plan: Plan) -> None:
    world = World(plan)
    outcome = world.outcome()
    assume(outcome.failures)
    await world.execute()
    world.check_closed()
    if world.error is None:
        assert not outcome.fails
        return same_as_interpreted(world, outcome)
    assert world.state == "failed"
    assert world.run is not None
    assert world.run.error is world.error
    for error in told(world.error):
        assert is_one_of(error, outcome), f"{error!r}, {getattr(error, '__notes__', ())}: not foreseen"
    for seen, arrived in zip(world.seen, outcome.ends, strict=True):
        assert arrived.begins(seen.events), f"{seen.events} doesn't begin {arrived.lanes}"
    assert letters_of(world) <= expected_letters(outcome)


def capacities(world: World) -> dict[str, int]:
    """The largest channel that leads into each stage."""
    found: dict[str, int] = {}
    for channel in json.loads(world.pipeline.explain("json"))["channels"]:
        found[channel["target"]] = max(found.get(channel["target"], 0), channel["capacity"])
    return found


@examples(0.5)
@given(plan=plans(Choice(events=60)), capacity=st.integers(1, 5), chunk=st.integers(1, 5))
async def test_bounds_hold(plan: Plan, capacity: int, chunk: int) -> None:
    world = World(plan, capacity=capacity, chunk=chunk)
    await world.execute()
    assert world.run is not None
    most = capacities(world)
    for stage in world.run.metrics().stages:
        assert stage.queued_most <= most.get(stage.stage, 0), stage
        assert stage.queued == 0
    assert all(sink.most <= chunk for sink in world.sinks)
    assert world.wrong == [], "never more than concurrency in flight or waiting for their turn"
