"""debounce: an event goes on when it has been quiet for so long."""

from reactor import Pipeline, Stream
from tests.engine.scripted import Probe
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_emits_the_last_event_when_none_has_followed_for_so_long() -> None:
    stream = at((1, "a"), (2, "b"), (3, "c"), (10, "d"), end=20)
    assert await played(stream.debounce(1.5)) == [(4.5, "c"), (11.5, "d"), (20, END)]


async def test_emits_nothing_while_events_keep_coming() -> None:
    assert await played(every(1, 50).debounce(1.5)) == [(50, 49), (50, END)]


async def test_an_event_that_comes_just_as_the_time_is_over_takes_no_place() -> None:
    assert await played(every(1, 2, end=9).debounce(1)) == [(2, 0), (3, 1), (9, END)]


async def test_completes_at_once_when_its_input_does_with_the_last_event() -> None:
    assert await played(at((1, "a")).debounce(60)) == [(1, "a"), (1, END)]


async def test_those_that_are_dropped_are_counted() -> None:
    probe = Probe[int]()
    run = await Pipeline("p", every(1, 7).debounce(60, name="d").to(probe)).run()
    assert probe.events == [6]
    assert run.metrics()["d"].dropped == {"d: replaced": 6}


async def test_of_events_that_come_at_once_the_last_one_counts() -> None:
    assert await Stream(range(5)).debounce(1).collect() == [4]
