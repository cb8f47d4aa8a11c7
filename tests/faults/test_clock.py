"""Somebody sets the clock while a pipeline runs, forth and back by hours.

``time.time_ns``, which all of reactor asks for the time of day, is patched in this process: the loop's own clock
goes on as it does when somebody sets the machine's.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor import Cancelled, Checkpoints, Pipeline, Session, Stream, Tumbling, Windowed, topic
from reactor.connectors import states
from tests.faults.shop import COUNT, Gate, Shop

HOUR = 3600 * 1_000_000_000
STEPS = [2 * HOUR, -3 * HOUR, 30 * HOUR, -1 * HOUR, 0]
SOON = 20.0


class TimeOfDay:
    """What time it is, by a clock that can be set."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.off = 0

    def __call__(self) -> int:
        now: int = self._real()
        return now + self.off


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    made = TimeOfDay(time.time_ns)
    monkeypatch.setattr(time, "time_ns", made)
    return made


@pytest.mark.anyio
async def test_a_run_doesnt_care(tmp_path: Path, day: TimeOfDay) -> None:
    shop = Shop(tmp_path, "table")
    await shop.publish(0, COUNT - 50)
    with anyio.fail_after(SOON):
        async with shop.pipeline(follow=True, lease=0.2).start() as run:
            for n, off in enumerate(STEPS):
                taken = await run.checkpoint()
                day.off = off
                await shop.publish(COUNT - 50 + n * 10, COUNT - 40 + n * 10)
                # Two renewals of the lease, and a checkpoint.
                await anyio.sleep(0.12)
                assert (await run.checkpoint()).number > taken.number
            while await shop.orders.position("shop") != COUNT:
                await anyio.sleep(0.005)
            assert run.state == "running"
    await shop.check()


@pytest.mark.parametrize("off", [-5 * HOUR, 5 * HOUR])
@pytest.mark.anyio
async def test_the_next_run_goes_on_at_another_time(tmp_path: Path, day: TimeOfDay, off: int) -> None:
    """Its predecessor has failed without a word: what it has written is older, or of the future."""
    shop, gate = Shop(tmp_path, "topic"), Gate()
    await shop.begun()
    gate.closed = True
    with pytest.raises(Cancelled):
        async with shop.pipeline(gate=gate).start() as run:
            await gate.reached.wait()
            run.cancel()
    day.off = off
    with anyio.fail_after(SOON):
        await shop.pipeline().run()
    await shop.check()


@pytest.mark.parametrize("off", [-5 * HOUR, 5 * HOUR])
@pytest.mark.anyio
async def test_a_dead_owner_is_replaced_within_its_lease(
    tmp_path: Path, day: TimeOfDay, off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, where nobody can tell that it is dead."""
    shop = Shop(tmp_path, "topic")
    await shop.publish()
    store = states.state_store(f"sqlite:{tmp_path}/state.db")
    await store.open()
    assert await store.claim("shop", "elsewhere", 0.5) is not None
    await store.close()
    day.off = off
    with anyio.fail_after(SOON):
        await shop.pipeline(lease=0.5).run()
    await shop.check()


@pytest.mark.parametrize("off", [-5 * HOUR, 5 * HOUR])
@pytest.mark.anyio
async def test_no_lease_is_stolen_from_who_is_alive(tmp_path: Path, day: TimeOfDay, off: int) -> None:
    """Who stands by tries ten times in the time after which the owner renews its lease, so it would take it."""
    shop = Shop(tmp_path, "table")
    await shop.publish(0, COUNT - 50)
    with anyio.fail_after(SOON):
        async with shop.pipeline(follow=True, lease=2).start() as first:
            with suppress(Cancelled):
                async with shop.pipeline(follow=True, lease=0.2).start() as second:
                    for n in range(5):
                        day.off = off if n % 2 else 0
                        await shop.publish(COUNT - 50 + n * 10, COUNT - 40 + n * 10)
                        await anyio.sleep(0.15)
                        assert second.state == "standby", first.error
                    second.cancel()
            while await shop.orders.position("shop") != COUNT:
                await anyio.sleep(0.005)
            assert first.state == "running"
    await shop.check()


def ticks(place: str, seen: list[Any], url: str) -> Pipeline:
    numbers = topic(f"memory:{place}").subscribe("g")
    counted = numbers.window(Tumbling(0.2, clock=True), name="ticks").sum()
    return Pipeline("ticks", counted.to(seen.append), checkpoint=Checkpoints(url, interval=0.02))


@pytest.mark.parametrize("off", [-5 * HOUR, 5 * HOUR])
@pytest.mark.anyio
async def test_windows_on_the_clock_fire_once(tmp_path: Path, day: TimeOfDay, off: int) -> None:
    seen: list[Windowed[None, int]] = []
    numbers = topic(f"memory:{tmp_path.name}")
    with anyio.fail_after(SOON):
        async with ticks(tmp_path.name, seen, f"memory:{tmp_path.name}").start():
            for n in range(10):
                await numbers.publish(n)
                await anyio.sleep(0.05)
                day.off = off if n % 2 else 0
            while sum(found.value for found in seen) < 45:
                await anyio.sleep(0.01)
    starts = [found.window.start for found in seen]
    assert starts == sorted(set(starts))
    assert sum(found.value for found in seen) == 45


KINDS: dict[str, Callable[[Stream[int]], Stream[Any]]] = {
    "window": lambda numbers: (
        numbers.window(Tumbling(0.1, clock=True), name="held").collect().map(lambda found: found.value)
    ),
    "session": lambda numbers: (
        numbers.window(Session(gap=0.1, clock=True), name="held").collect().map(lambda found: found.value)
    ),
    "delay": lambda numbers: numbers.delay(0.1).map(lambda number: [number]),
    "batch": lambda numbers: numbers.batch(1000, max_wait=0.1),
}


@pytest.mark.parametrize(
    ("off", "loop"), [(-5 * HOUR, "asyncio"), (-5 * HOUR, "trio"), (5 * HOUR, "asyncio")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_by_the_clock_loses_nothing_when_that_is_set_between_two_runs(
    tmp_path: Path, day: TimeOfDay, kind: str, off: int, loop: str
) -> None:
    seen: list[int] = []
    numbers = topic(f"memory:{tmp_path.name}", int)
    pipeline = Pipeline(
        "held",
        KINDS[kind](numbers.subscribe("g")).to(seen.extend),
        checkpoint=Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.02),
    )

    async def more(first: int, seen_before: int) -> None:
        with anyio.fail_after(SOON):
            async with pipeline.start():
                await numbers.publish(first, first + 1)
                while await numbers.position("g") != first + 2 or len(seen) < seen_before:
                    await anyio.sleep(0.005)

    anyio.run(more, 0, 2, backend=loop)  # it has fired
    anyio.run(more, 2, 0, backend=loop)  # it holds something
    day.off = off
    anyio.run(more, 4, 6, backend=loop)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
