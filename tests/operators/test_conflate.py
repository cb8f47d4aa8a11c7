"""conflate: what comes while the next operator is busy becomes one event."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from reactor import ArgumentError, DeadLetters, Fallback, OnError, Pipeline, Skip, Stream
from tests.engine.scripted import Probe
from tests.operators.timelines import END, by_virtual_clock, every, played

pytestmark = by_virtual_clock


async def ten_seconds(event: Any) -> Any:
    await anyio.sleep(10)
    return event


async def at_the_slow_sink(stream: Stream[Any]) -> tuple[list[Any], dict[str, int]]:
    seen: list[Any] = []

    async def sink(event: Any) -> None:
        seen.append(event)
        await anyio.sleep(10)

    run = await Pipeline("p", stream.to(sink)).run()
    return seen, run.metrics()["c"].dropped


async def test_emits_every_event_to_who_keeps_up() -> None:
    assert await played(every(1, 3).conflate()) == [(1, 0), (2, 1), (3, 2), (3, END)]


async def test_a_slow_reader_gets_the_latest_and_never_holds_the_input_back() -> None:
    read: list[tuple[float, int]] = []
    began = anyio.current_time()
    stream = every(1, 35).tap(lambda n: read.append((anyio.current_time() - began, n)))
    seen, dropped = await at_the_slow_sink(stream.conflate(name="c"))
    assert [n for _, n in read] == list(range(35))
    assert read[-1][0] == pytest.approx(35)
    # One is in its hands, one waits in the channel; the rest went into the last.
    assert seen[:2] == [0, 1]
    assert seen[-1] == 34
    assert seen == sorted(seen)
    assert len(seen) <= 6
    assert dropped == {"c: conflated": 35 - len(seen)}


async def test_events_are_put_together_by_the_function() -> None:
    def together(so_far: list[int], more: list[int]) -> list[int]:
        return so_far + more

    seen, dropped = await at_the_slow_sink(every(1, 35).map(lambda n: [n]).conflate(together, name="c"))
    assert len(seen) <= 6
    assert [n for part in seen for n in part] == list(range(35))
    assert dropped == {"c: conflated": 35 - len(seen)}


async def test_completes_when_its_input_has_and_the_last_event_is_out() -> None:
    assert (await played(every(1, 5).conflate().map(ten_seconds)))[-2:] == [(31, 4), (31, END)]


def picky(so_far: int, more: int) -> int:
    if more % 10 == 7:
        raise LookupError("no sevens")
    return so_far + more


@pytest.mark.parametrize(
    ("on_error", "total"),
    [(Skip(), 435 - 7 - 17 - 27), (Fallback(lambda n: 1000), None), (DeadLetters(), 435 - 51)],
)
async def test_an_event_that_cannot_be_added_goes_by_on_error(on_error: OnError, total: int | None) -> None:
    probe, letters = Probe[int](), Probe[Any]()
    stream = every(1, 30).conflate(picky, on_error=on_error, name="c").map(ten_seconds)
    run = await Pipeline("p", stream.to(probe), dead_letters=letters).run()
    if total is None:
        assert max(probe.events) >= 1000
    else:
        assert sum(probe.events) == total
    assert [letter.event for letter in letters.events] == (
        [7, 17, 27] if isinstance(on_error, DeadLetters) else []
    )
    assert sum(n for what, n in run.metrics()["c"].dropped.items() if "conflated" not in what) == 3


async def test_by_default_it_fails_by_name() -> None:
    with pytest.raises(LookupError) as failure:
        await every(1, 30).conflate(picky, name="c").map(ten_seconds).collect()
    assert "operator c, event 7" in failure.value.__notes__[0]


async def test_a_function_that_returns_an_awaitable_is_refused() -> None:
    async def later(n: int) -> int:
        return n

    add: Callable[[Any, Any], Any] = lambda so_far, more: later(more)  # noqa: E731
    with pytest.raises(ArgumentError, match=r"conflate\(lambda:\d+\): .* has to be sync"):
        await every(1, 30).conflate(add).map(ten_seconds).collect()


async def test_where_an_event_came_from_is_bounded() -> None:
    """An event knows of at most 1024 of those that it was made of; the last of them among these."""

    async def fail(total: int) -> int:
        await anyio.sleep(10)
        raise LookupError("no")

    letters = Probe[Any]()
    stream = Stream(range(5000)).conflate(lambda a, b: a + b).map(fail, on_error=DeadLetters())
    await Pipeline("p", stream.to(lambda n: None), dead_letters=letters).run()
    assert sum(letter.event for letter in letters.events) == sum(range(5000))
    origins = letters.events[-1].origin
    assert len(origins) == 1024
    assert origins[-1] == 4999
