"""distinct with a time to live: a key is forgotten by the clock, and what is remembered stays bounded."""

from datetime import timedelta

from reactor.engine import Execution
from reactor.graph import Graph
from tests.engine.scripted import Probe
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_an_event_is_emitted_again_when_its_time_to_live_is_over() -> None:
    stream = at((0, "a"), (1, "b"), (9, "a"), (10, "a"), (12, "a"), (12, "b"))
    assert await played(stream.distinct(ttl=10)) == [(0, "a"), (1, "b"), (10, "a"), (12, "b"), (12, END)]


async def test_the_time_counts_from_the_event_that_was_emitted_not_from_those_dropped() -> None:
    assert await played(every(1, 25).map(lambda n: "x").distinct(ttl=timedelta(seconds=10))) == [
        (1, "x"),
        (11, "x"),
        (21, "x"),
        (25, END),
    ]


async def test_both_bounds_hold() -> None:
    stream = at((0, "a"), (1, "b"), (2, "a"), (3, "c"), (4, "a"), (20, "c"))
    assert [event for _, event in await played(stream.distinct(last=2, ttl=10))][:-1] == [
        "a",
        "b",
        "c",
        "a",
        "c",
    ]


async def test_keys_whose_time_is_over_are_forgotten() -> None:
    stream = every(1, 1000).distinct(ttl=20)
    run = Execution(Graph("p", (stream.to(Probe[int]()).node,)))
    await run.execute()
    remembered = [
        state for stage in run.stages for state in stage.states.values() if hasattr(state, "popitem")
    ]
    assert [len(keys) for keys in remembered] == [20]
