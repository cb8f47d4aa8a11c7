"""throttle: the first event of each interval, and with ``trailing`` the last."""

import pytest

from reactor import Pipeline, Stream
from tests.engine.scripted import Probe
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_emits_the_first_event_and_then_none_until_the_time_is_over() -> None:
    stream = at((1, "a"), (1.5, "b"), (2.9, "c"), (3.1, "d"), (9, "e"))
    assert await played(stream.throttle(2)) == [(1, "a"), (3.1, "d"), (9, "e"), (9, END)]


async def test_the_time_begins_with_the_event_that_was_emitted() -> None:
    assert await played(every(1, 6).throttle(2)) == [(1, 0), (3, 2), (5, 4), (6, END)]


async def test_with_trailing_the_last_is_emitted_at_the_end_of_the_time_and_begins_another() -> None:
    stream = at((1, "a"), (1.5, "b"), (2, "c"), (3.5, "d"), (20, "e"), end=30)
    assert await played(stream.throttle(2, trailing=True)) == [
        (1, "a"),
        (3, "c"),
        (5, "d"),
        (20, "e"),
        (30, END),
    ]


async def test_one_event_alone_is_not_emitted_again_at_the_end() -> None:
    assert await played(at((1, "a"), end=30).throttle(2, trailing=True)) == [(1, "a"), (30, END)]


@pytest.mark.parametrize(("trailing", "rest"), [(False, []), (True, [(2, 1)])])
async def test_completes_at_once_when_its_input_does(trailing: bool, rest: list[tuple[float, int]]) -> None:
    assert await played(every(1, 2).throttle(60, trailing=trailing)) == [(1, 0), *rest, (2, END)]


@pytest.mark.parametrize(("trailing", "kept"), [(False, [0]), (True, [0, 99])])
async def test_those_that_are_dropped_are_counted(trailing: bool, kept: list[int]) -> None:
    probe = Probe[int]()
    run = await Pipeline("p", Stream(range(100)).throttle(60, trailing=trailing, name="t").to(probe)).run()
    assert probe.events == kept
    assert run.metrics()["t"].dropped == {"t: replaced": 100 - len(kept)}
