"""``reactor.core.clock``: the wall clock's time at first, and then as the loop's own clock goes."""

import time

import anyio
import pytest

from reactor.core import clock

DAY = 86_400 * 1_000_000


@pytest.mark.anyio
async def test_it_is_what_the_wall_clock_says() -> None:
    before = time.time_ns() // 1000
    now = clock.now()
    assert before - 1000 <= now <= time.time_ns() // 1000 + 1000


@pytest.mark.anyio
async def test_it_goes_as_the_clock_of_the_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def micros() -> int:
        return round(anyio.current_time() * 1_000_000)

    looks = [micros(), clock.now(), micros()]
    monkeypatch.setattr(time, "time_ns", lambda: 0)  # the wall clock is set back: it isn't asked again
    await anyio.sleep(0.002)
    later = [micros(), clock.now(), micros()]
    # Each look at the one clock lies between two at the other.
    assert 2_000 <= later[0] - looks[2] <= later[1] - looks[1] <= later[2] - looks[0]


@pytest.mark.anyio
async def test_it_can_be_set_and_is_the_same_in_every_task() -> None:
    clock.set_now(DAY)
    seen: list[int] = []

    async def look() -> None:
        seen.append(clock.now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        tasks.start_soon(look)
    assert all(DAY <= moment < DAY + 1_000_000 for moment in seen)


@pytest.mark.anyio
async def test_the_faster_form_says_the_same() -> None:
    clock.set_now(DAY)
    here = clock.here()
    before = clock.now()
    assert before <= here() <= clock.now()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_loop_has_its_own(backend: str) -> None:
    async def travel() -> None:
        clock.set_now(DAY)

    async def look() -> int:
        return clock.now()

    anyio.run(travel, backend=backend)
    assert anyio.run(look, backend=backend) > 10_000 * DAY
