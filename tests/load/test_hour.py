"""An hour, in virtual time: the memory stays as it is, nothing is lost, nothing stays behind."""

import gc
from pathlib import Path
from typing import Literal

import anyio
import pytest

from reactor.connectors.states import forget
from reactor.testing import run_virtual
from tests.load.hour import SENSORS, Hour

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize(("loop", "seconds"), [("asyncio", 3600), ("trio", 900)])
def test_an_hour(loop: Literal["asyncio", "trio"], seconds: int, tmp_path: Path) -> None:
    objects: list[int] = []
    place = f"{tmp_path.name}-{loop}"

    async def main() -> Hour:
        hour = Hour(seconds)
        async with hour.pipeline(f"memory:{place}").start() as run, anyio.create_task_group() as tasks:

            async def watch() -> None:
                while True:
                    await anyio.sleep(seconds / 15)
                    gc.collect()
                    objects.append(len(gc.get_objects()))

            tasks.start_soon(watch)
            await run.wait()
            tasks.cancel_scope.cancel()
            taken = await run.checkpoint()
        assert taken.number & 0xFFFFFFFF > seconds * 0.9
        assert list(taken.positions.values()) == [hour.count]
        return hour

    hour, elapsed = run_virtual(main, loop=loop)
    forget(place)
    assert seconds - 1 < elapsed < seconds + 1
    assert hour.sum == sum(range(hour.count))
    assert hour.batched == hour.ticked == hour.counted == hour.count
    assert hour.silences == seconds // 90 * SENSORS // 2
    assert 0 <= hour.ticks - seconds // 10 <= 2
    warm = objects[len(objects) // 4 :]
    assert max(warm) - min(warm) < 2_000
