"""delay: each event so many seconds later, in order; as many as may wait."""

import anyio
import pytest

from reactor import DrainTimeout, Inlet, Pipeline, Stream, Tumbling
from tests.engine.scripted import Probe, settle
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_emits_each_event_so_many_seconds_after_it_has_come() -> None:
    stream = at((1, "a"), (2, "b"), (2, "c"), (200, "d"))
    assert await played(stream.delay(100)) == [(101, "a"), (102, "b"), (102, "c"), (300, "d"), (300, END)]


async def test_completes_when_the_last_event_is_out() -> None:
    assert await played(at((1, "a"), end=5).delay(10)) == [(11, "a"), (11, END)]
    assert await played(at((1, "a"), end=50).delay(10)) == [(11, "a"), (50, END)]


async def test_holds_its_input_back_while_so_many_events_wait() -> None:
    stream = Stream(range(5)).delay(10, waiting=2)
    assert await played(stream) == [(10, 0), (10, 1), (20, 2), (20, 3), (30, 4), (30, END)]


async def test_no_more_than_so_many_events_wait() -> None:
    read: list[int] = []
    stream = every(1, 50).tap(read.append).delay(1000, waiting=7)
    with anyio.move_on_after(900):
        await Pipeline("p", stream.to(Probe[int]()), capacity=1, chunk=1).run()
    assert 7 <= len(read) <= 10


async def test_a_drain_waits_for_what_cannot_be_read_again() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    began = anyio.current_time()
    async with Pipeline("p", Stream(inlet).delay(20).to(probe)).start():
        await inlet.send(1)
        await settle()
    assert probe.events == [1]
    assert anyio.current_time() - began == pytest.approx(20)


async def test_a_drain_that_takes_too_long_says_so() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with pytest.raises(DrainTimeout) as failure:
        async with Pipeline("p", Stream(inlet).delay(3600).to(probe)).start(drain=5):
            await inlet.send(1)
            await settle()
    assert failure.value.in_flight == 1


async def test_any_number_of_marks_may_stand_between_the_events() -> None:
    stream = at(*((1 + n / 512, n) for n in range(2500))).event_time(lambda n: n, unit="s")
    later = stream.delay(100, waiting=3000).window(Tumbling(1250)).count()
    assert [result.value for result in await later.collect()] == [1250, 1250]
