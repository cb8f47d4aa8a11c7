"""Open windows when a run ends, drains or is cancelled; what they cost while it goes on."""

from __future__ import annotations

import tracemalloc
from typing import Any

import anyio
import pytest

from reactor import (
    Cancelled,
    Early,
    GraphError,
    Inlet,
    Pipeline,
    Process,
    Session,
    Sliding,
    Stream,
    Tumbling,
    aggregates,
    topic,
)
from reactor.windows import Context
from tests.engine.graphs import PATIENCE
from tests.windows.plans import Cut, key_of, open_of, run, time_of, timed, us

pytestmark = pytest.mark.anyio

TEN = Tumbling(us(10))


def counted(stream: Stream[Any], window: Any = TEN, **how: Any) -> Any:
    return stream.event_time(time_of, unit="us").key_by(key_of).window(window, **how).count()


async def test_a_drain_over_an_inlet_fires_what_is_open() -> None:
    """An inlet can't be read again: what is held goes to the sinks."""
    inlet = Inlet[Any](8)
    seen: list[Any] = []
    async with Pipeline("drained", counted(Stream(inlet)).to(seen.append)).start(drain=PATIENCE) as running:
        await inlet.deliver((1, 0))
        await inlet.deliver((2, 0))
        assert (seen, open_of(running)) == ([], 1)
        await running.drain()
    assert [(result.value, tuple(result.window)) for result in seen] == [(2, (0, 10))]
    assert (running.state, open_of(running)) == ("complete", 0)


async def test_a_cancel_with_open_windows_fires_nothing() -> None:
    inlet = Inlet[Any](8)
    seen: list[Any] = []
    running = Pipeline("cancelled", counted(Stream(inlet)).to(seen.append)).start()

    async def cancelled() -> None:
        async with running:
            await inlet.deliver((1, 0))
            running.cancel()
            await running.wait()

    with pytest.raises(Cancelled):
        await cancelled()
    assert seen == []
    assert running.state == "cancelled"


async def test_windows_over_a_topic_have_to_be_called_volatile(anyio_backend_name: str) -> None:
    orders: Any = topic(f"memory:windows-over-a-topic-{anyio_backend_name}")
    await orders.publish([1, 0], [2, 0], [15, 0])
    subscribed = orders.subscribe("counts", follow=False)
    with pytest.raises(GraphError, match="volatile=True"):
        Pipeline("p", counted(subscribed).discard())
    keyed = subscribed.event_time(time_of, unit="us").key_by(key_of)
    for refused in (keyed.process(Process), keyed.join(keyed, TEN), keyed.join_table(keyed)):
        with pytest.raises(GraphError, match="volatile=True"):
            Pipeline("p", refused.discard())
    seen: list[Any] = []
    await Pipeline("p", counted(subscribed, volatile=True).to(seen.append)).run()
    assert [result.value for result in seen] == [2, 1]
    assert await orders.groups() == {"counts": 3}


async def test_a_drain_over_a_topic_does_not_fire_early(anyio_backend_name: str) -> None:
    """What can be read again isn't fired: a window of half of its events would be wrong."""
    orders: Any = topic(f"memory:a-drain-over-a-topic-{anyio_backend_name}")
    await orders.publish([1, 0], [15, 0], [16, 0])
    seen: list[Any] = []
    stream = counted(orders.subscribe("counts"), volatile=True)
    fired = anyio.Event()

    def see(result: Any) -> None:
        seen.append(result)
        fired.set()

    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", stream.to(see)).start(drain=PATIENCE) as running:
            await fired.wait()
            await running.drain()
    assert [tuple(result.window) for result in seen] == [(0, 10)]


# Cost ------------------------------------------------------------------------------------------------------


class Calls(aggregates.Aggregate[Any, int]):
    """A sum that counts how often it adds and merges."""

    def __init__(self, mergeable: bool = True) -> None:
        self.added = self.merged = 0
        self.mergeable = mergeable

    def zero(self) -> int:
        return 0

    def add(self, state: int, event: Any) -> int:
        self.added += 1
        return state + 1

    def merge(self, a: int, b: int) -> int:
        self.merged += 1
        return a + b

    def result(self, state: int) -> int:
        return state


async def merges_per_window(panes: int) -> tuple[float, float]:
    """How many additions there are for an event, and merges for a window."""
    events = [(n, 0, 0) for n in range(4 * panes)]
    calls = Calls()
    seen: list[Any] = []
    stream = timed(events, Cut(), 0).window(Sliding(us(panes), us(1))).aggregate(calls)
    await run(Cut(), stream.to(seen.append))
    return calls.added / len(events), calls.merged / len(seen)


async def test_an_event_costs_the_same_whatever_size_and_every_are() -> None:
    for panes in (4, 64, 512):
        added, merged = await merges_per_window(panes)
        assert added == 1, "each event is added to one pane"
        assert merged <= 3, "each window is a constant number of merges away from the one before"


async def test_without_merge_each_window_adds_the_event_itself() -> None:
    calls = Calls(mergeable=False)
    events = [(n, 0, 0) for n in range(100)]
    await run(Cut(), timed(events, Cut(), 0).window(Sliding(us(8), us(2))).aggregate(calls).discard())
    assert (calls.added, calls.merged) == (400, 0)


async def test_several_aggregates_take_one_pass() -> None:
    calls: list[Any] = []

    def looked(event: Any) -> int:
        calls.append(event)
        return int(event[2])

    events = [(n, 0, n) for n in range(10)]
    windows = timed(events, Cut(), 0).window(TEN)
    seen: list[Any] = []
    results = windows.aggregate(aggregates.Count(), aggregates.Sum(looked), aggregates.Max(looked))
    await run(Cut(), results.to(seen.append))
    assert [result.value for result in seen] == [(10, 45, 9)]
    assert len(calls) == 20


class Touched(Process[int, Any, int]):
    """Emits and forgets when its timer comes."""

    def event(self, event: Any, context: Context[int]) -> None:
        context.at(event[0] + 5)

    def timer(self, time: int, context: Context[int]) -> list[int]:
        context.forget()
        return [time]


N = 100_000
MANY: dict[str, Any] = {
    "tumbling": lambda keyed: keyed.window(TEN).count(),
    "sliding": lambda keyed: keyed.window(Sliding(us(10), us(5)), lateness=us(20)).count(),
    "session": lambda keyed: keyed.window(Session(us(2)), lateness=us(20)).count(),
    "early": lambda keyed: keyed.window(TEN, early=Early(events=100)).count(),
    "process": lambda keyed: keyed.process(Touched),
    "ttl": lambda keyed: keyed.process(lambda: Kept(), ttl=us(50)),
}


class Kept(Process[int, Any, int]):
    def event(self, event: Any, context: Context[int]) -> list[int]:
        return [1]


@pytest.mark.parametrize("kind", MANY)
async def test_states_are_gone_once_they_have_fired(kind: str, anyio_backend_name: str) -> None:
    """A hundred thousand windows, each key for once: what is held stays as small as with a few."""
    n = N if (kind, anyio_backend_name) == ("tumbling", "asyncio") else N // 10
    most, given = 0, 0

    def look(result: Any) -> None:
        nonlocal most, given
        given += 1
        if given % 1000 == 0:
            most = max(most, open_of(running))

    stream = Stream((at * 10, at, 0) for at in range(n)).event_time(time_of, unit="us")
    pipeline = Pipeline(kind, MANY[kind](stream.key_by(key_of)).to(look))
    async with pipeline.start() as running:
        await running.wait()
    assert given == n * (2 if kind == "sliding" else 1)
    assert 0 < most < 50
    assert open_of(running) == 0


@pytest.mark.asyncio
async def test_memory_does_not_grow_with_the_number_of_windows() -> None:
    async def peak(n: int) -> int:
        stream = Stream((at, 0, 0) for at in range(n)).event_time(time_of, us(30), unit="us")
        windows = stream.key_by(key_of).window(Sliding(us(10), us(5)), lateness=us(20)).sum(time_of)
        tracemalloc.start()
        await Pipeline("flat", windows.discard(), capacity=64, chunk=64).run()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    await peak(500)  # what is made once
    few, many = await peak(2_000), await peak(20_000)
    assert many < few + 40_000
