"""timeout: how long it may be quiet."""

from collections.abc import AsyncIterator

import anyio
import pytest

from reactor import OperatorTimeout, Pipeline, Stream
from tests.engine.scripted import Probe
from tests.operators.timelines import END, at, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def test_emits_what_comes_in_time() -> None:
    assert await played(every(1, 3).timeout(1.5)) == [(1, 0), (2, 1), (3, 2), (3, END)]


async def test_completes_when_its_input_does() -> None:
    assert await played(at((1, "a"), end=2).timeout(60)) == [(1, "a"), (2, END)]


async def test_fails_when_no_event_has_come_for_so_long() -> None:
    seen: list[str] = []
    began = anyio.current_time()
    with pytest.raises(
        OperatorTimeout, match=r"timeout\(5\): no event for 5 s; .* longer time, or fallback="
    ) as failure:
        await at((1, "a"), (4, "b"), (20, "c")).timeout(5, name="quiet").tap(seen.append).collect()
    assert "operator quiet" in failure.value.__notes__[0]
    assert anyio.current_time() - began == pytest.approx(9)
    assert seen == ["a", "b"]


async def test_the_first_event_has_to_come_in_time_too() -> None:
    with pytest.raises(OperatorTimeout):
        await at((6, "a")).timeout(5).collect()


async def test_with_a_fallback_that_is_emitted_each_time() -> None:
    stream = at((1, "a"), (12, "b"), end=16).timeout(5, fallback="still here")
    assert await played(stream) == [
        (1, "a"),
        (6, "still here"),
        (11, "still here"),
        (12, "b"),
        (16, END),
    ]


async def test_fallbacks_are_counted() -> None:
    run = await Pipeline("p", at(end=16).timeout(5, fallback=None, name="t").to(Probe[None]())).run()
    assert run.metrics()["t"].dropped == {"t: fallback": 3}
    assert (run.metrics()["t"].events_in, run.metrics()["t"].events_out) == (0, 3)


async def test_time_in_which_it_is_held_back_does_not_count() -> None:
    async def slow(event: int) -> int:
        await anyio.sleep(60)
        return event

    probe = Probe[int]()
    stream = Stream(range(4)).timeout(5).map(slow)
    await Pipeline("p", stream.to(probe), capacity=1, chunk=1).run()
    assert probe.events == [0, 1, 2, 3]


async def test_a_source_behind_a_concat_has_time_from_when_it_is_its_turn() -> None:
    stream = every(10, 5).concat(at((4, "a")).timeout(5))
    assert (await played(stream))[-2:] == [(54, "a"), (54, END)]
    with pytest.raises(OperatorTimeout):
        began = anyio.current_time()
        await every(10, 5).concat(at((6, "a")).timeout(5)).collect()
    assert anyio.current_time() - began == pytest.approx(55)


async def test_marks_are_no_events() -> None:
    async def quiet() -> AsyncIterator[int]:
        yield 1
        await anyio.sleep(100)

    stream = Stream(quiet).event_time(lambda n: n, unit="s", idle=1).timeout(5)
    with pytest.raises(OperatorTimeout):
        await stream.collect()
