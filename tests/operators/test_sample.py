"""sample: the latest event at each tick."""

from reactor import Pipeline, Stream
from tests.engine.scripted import Probe
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_emits_the_latest_event_every_so_many_seconds() -> None:
    assert await played(every(1, 8, end=20).sample(2.5)) == [
        (2.5, 1),
        (5, 3),
        (7.5, 6),
        (10, 7),
        (20, END),
    ]


async def test_emits_nothing_where_nothing_new_has_come() -> None:
    stream = at((1, "a"), (31, "b"), end=60)
    assert await played(stream.sample(10)) == [(10, "a"), (40, "b"), (60, END)]


async def test_completes_at_once_when_its_input_does_with_the_last_event() -> None:
    assert await played(at((1, "a"), (2, "b")).sample(60)) == [(2, "b"), (2, END)]


async def test_those_that_are_dropped_are_counted() -> None:
    probe = Probe[int]()
    run = await Pipeline("p", Stream(range(10)).sample(60, name="s").to(probe)).run()
    assert probe.events == [9]
    assert run.metrics()["s"].dropped == {"s: replaced": 9}
